"""From a call of a function to the request and back: traced, kept, written, sent, decoded."""
