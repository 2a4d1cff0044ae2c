"""A page to hear models resynthesise a recording, and to see how likely they find it."""
