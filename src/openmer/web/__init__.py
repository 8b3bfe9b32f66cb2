"""The web page: a video goes in, the timeline and the pictures come out, in a browser on this machine."""
