"""The web page: a video goes in, a timeline and pictures come out, in a browser on this machine."""
