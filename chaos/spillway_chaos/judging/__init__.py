"""Evidence → findings. Pure: nothing here asks the platform anything.

==============  ====================================================================================================
`evidence`      what a run has seen, gathered from the stage when it is over
`findings`      what is expected of it, one by one
`times`         detection and recovery, from the recorder's changes
`verdict`       what it all comes to, and exit statuses
`statistics`    repetitions, with intervals
==============  ====================================================================================================
"""
