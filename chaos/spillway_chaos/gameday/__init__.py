"""A game day: a hypothesis first, then a drill, announced or drawn by seed, then a review sheet from what was measured.

==============  ====================================================================================================
`plan`          who plays, what is believed, and which drill is drawn
`review`        eight criteria, 1 to 5 each, each with the rule by which it was rated
`game`          the day itself
==============  ====================================================================================================
"""
