"""Actions: each breaks one thing of the stage that is played on. Called by our runner and by `chaos` alike.

==============  ====================================================================================================
`load`          what is asked throughout
`processes`     signals, and crashes again and again
`engines`       faults inside an engine, by the injection points of `--chaos`
`network`       toxics on the way to Redis, or to the collector
`redis`         Redis itself: flushed, without its scripts, full, killed
`clients`       clients that hang up, do not read, poison, or come back at once
`machine`       CPU, descriptors, disk and clock
==============  ====================================================================================================

How to undo a fault is armed before it is made. `restore` undoes all.
"""
