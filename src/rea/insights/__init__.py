"""The experiment-insights database's logic: what past experiments say about a technique here."""
