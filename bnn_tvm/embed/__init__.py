"""From a scheduled module to a C library that needs no runtime."""
