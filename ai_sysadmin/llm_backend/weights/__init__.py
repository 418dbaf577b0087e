"""Model files: which there are (``catalogue``), how one is had (``pull``), what is here (``model_files``)."""
