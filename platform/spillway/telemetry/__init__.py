"""What Spillway tells of itself: metrics, traces and logs. Nothing here may slow down or stop serving."""
