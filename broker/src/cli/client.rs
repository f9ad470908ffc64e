//! The way to a running broker.

use sallyport_proto::admin::admin_client::AdminClient;
use tonic::transport::{Channel, Endpoint};

use super::{Failure, Global};
use crate::causes;
use crate::config::Config;

/// Connects to the admin socket that was named, or to that of the configuration.
pub(super) async fn connect(global: &Global) -> Result<AdminClient<Channel>, Failure> {
    let socket = match &global.admin_socket {
        Some(socket) => socket.clone(),
        None => Config::load(global.config())?.admin.socket,
    };
    let absolute = std::path::absolute(&socket).unwrap_or_else(|_| socket.clone());
    let unreachable = |error: tonic::transport::Error| {
        Failure::no_broker(
            format!("no broker answers on {}: {}", socket.display(), causes::innermost(&error)),
            format!("start it with: sallyport serve -c {}", global.config().display()),
        )
    };
    let endpoint = Endpoint::from_shared(format!("unix:{}", absolute.display())).map_err(unreachable)?;
    let channel = endpoint.connect().await.map_err(unreachable)?;
    Ok(AdminClient::new(channel))
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &serde_json::Value) {
    println!("{value:#}");
}

/// A moment as people write it (RFC 3339), in UTC.
pub(super) fn moment(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years: the leap day is the last of such a year.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn moments_are_written_as_people_write_them() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(951_782_399_999), "2000-02-28T23:59:59Z");
        assert_eq!(moment(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(moment(1_798_761_600_000), "2027-01-01T00:00:00Z");
    }
}
