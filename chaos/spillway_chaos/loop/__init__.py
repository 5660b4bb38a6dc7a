"""The loop: collect → evaluate → the three largest gaps → act → verify, as `loop.toml` says, with its history kept.

==============  ====================================================================================================
`round`         one round: drills, card, what improved
`plan`          thirty days, four milestones, by evidence
`delivery`      telling webhooks and mail
`schedule`      a round every so often
==============  ====================================================================================================
"""
