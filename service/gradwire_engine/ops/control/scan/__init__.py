"""scan: a graph applied step by step; its rules, one file for each transform."""
