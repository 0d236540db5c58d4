//! The verbs about pods, one module each: kubectl's words without a server.
