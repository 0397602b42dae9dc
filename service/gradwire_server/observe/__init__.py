"""How the server is seen from outside: metrics, logs, and the HTTP port that serves them."""
