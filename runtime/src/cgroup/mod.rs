//! Control groups v1, hybrid and v2: layout, joining, limits, killing and removal.
