//! Time limits of commands.

use std::time::Duration;

/// A command without an answer after this time gets `unavailable`; a repetition with its id still has only one effect.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(3);

/// A running checkout is left to its gateway for this long; then the reconciler settles it. It is longer than
/// [`COMMAND_DEADLINE`], so that a healthy gateway always finishes its own.
pub const CHECKOUT_LEASE: Duration = Duration::from_secs(5);
