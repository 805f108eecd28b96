//! How long commands may take.

use std::time::Duration;

/// A command that has no answer by then gets `unavailable`; repeated with its id it has its one effect.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(3);

/// A running checkout is left to its gateway for this long; after that the reconciler settles it.
/// Longer than [`COMMAND_DEADLINE`], so that a healthy gateway always finishes its own.
pub const CHECKOUT_LEASE: Duration = Duration::from_secs(5);
