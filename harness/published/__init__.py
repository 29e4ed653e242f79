"""Analysis of answer files that other projects' benchmarks have published."""
