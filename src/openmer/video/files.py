"""What the files of a result are called; light, so that results can be found and listed without loading a library."""

MARKER = "timeline.json"
EXPLANATIONS = "explanations.json"
REPORT = "report.html"
RESULT_FILES = (
    MARKER,
    "timeline.csv",
    "frames.csv",
    "landmarks.npz",
    "windows.csv",
    "network_flow.csv",
    EXPLANATIONS,
    REPORT,
    "overlay.mp4",
)
# Of many results: the tables and the page over all.
SUMMARY_FILES = ("summary.csv", "summary.parquet", "index.html")
# Of an analysis of everybody: who is who, and the folder of each person's own result.
PEOPLE = "people.json"
FOLDER = "person-{}"
CAUTION = (
    "A candidate is a place to look, not an emotion, and says nothing about what a person feels or hides. "
    "Not validated on real micro-expressions."
)
