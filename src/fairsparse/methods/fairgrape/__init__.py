"""FairGRAPE: each cell keeps its share of importance."""
