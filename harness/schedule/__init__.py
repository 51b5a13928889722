"""Where runs are executed, behind one small interface: specs in, outcomes out."""
