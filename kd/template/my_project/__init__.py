"""The parts of this project that kd does not have: data, a network and a loss."""
