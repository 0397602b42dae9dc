"""From a call of a function to the request and back: captured, remembered, written, sent, decoded."""
