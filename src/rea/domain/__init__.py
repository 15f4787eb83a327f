"""The nouns of REA as frozen values. This package imports nothing else of rea."""
