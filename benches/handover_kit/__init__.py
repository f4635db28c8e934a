"""What benches/handover and benches/joining have in common: a scene of namespaces, films, the server, receivers."""
