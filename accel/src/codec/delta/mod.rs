//! DSA delta records.
