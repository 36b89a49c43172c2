"""What tests share: servers, recorders, clocks."""
