//! The pods' network: bridge, addresses, port maps and name files.
