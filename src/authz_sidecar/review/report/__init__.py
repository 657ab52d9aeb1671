"""Reports of a review as text, markdown, HTML and JSON: pure renderings, which the command line writes."""
