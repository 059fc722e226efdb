"""Boards over RPC: the server on the board, the client, and TVM's tracker between them."""
