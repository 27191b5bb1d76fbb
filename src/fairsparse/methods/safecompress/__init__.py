"""SafeCompress: dynamic sparse training by trial."""
