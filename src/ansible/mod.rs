//! Ansible's side: args in, one result out. It knows nothing of Docker or Cassandra.

pub mod args;
pub mod coerce;
pub mod options;
pub mod protocol;
pub mod request;
pub mod result;
pub mod values;
