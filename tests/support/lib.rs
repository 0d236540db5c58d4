//! What the tests share: a host of their own, the binary under test, and the leak check.
