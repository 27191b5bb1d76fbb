"""What fairsparse is measured by: `python -m benchmarks --help`."""
