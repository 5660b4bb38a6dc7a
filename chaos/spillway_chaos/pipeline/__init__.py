"""The pipeline: build, tests, load and drills, one after another, and one report.

==============  ====================================================================================================
`steps`         what is done, from a TOML file
`target`        the platform that it is done to: one of its own, or one given by URL
`run`           doing it
==============  ====================================================================================================
"""
