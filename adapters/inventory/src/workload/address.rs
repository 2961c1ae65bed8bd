//! What a workload's addresses mean.

use std::{collections::BTreeSet, net::IpAddr};

use bowline_mesh::{Address, NameError};

use crate::entry::Findings;

/// An IP address on which something can be reached; `None` if the text is something else.
pub(crate) fn ip_address(text: &str) -> Result<Option<IpAddr>, String> {
    let Ok(address) = text.parse::<IpAddr>() else {
        let looks_like_v4 = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        return match looks_like_v4 {
            true => Err(format!("'{text}' is not an IP address")),
            false => Ok(None),
        };
    };
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || is_broadcast {
        return Err(format!(
            "'{address}' is not the address of one machine: nothing can connect to it"
        ));
    }
    Ok(Some(address))
}

/// Where a workload is: at least one address, unless something is wrong.
pub(super) fn workload_addresses(
    address: Option<&str>,
    addresses: &[String],
    findings: &mut Findings,
) -> Vec<Address> {
    match (address, addresses) {
        (Some(text), []) => {
            let hint = "write an IP address, a DNS name, or `unix:/path/of/socket`";
            let address = findings.take("address", hint, any_address(text));
            address.into_iter().collect()
        }
        (None, [_, ..]) => {
            let parsed = addresses.iter().enumerate().filter_map(|(index, text)| {
                let field = format!("addresses[{index}]");
                let hint = "several addresses are IP addresses of the same machine";
                let address = ip_address(text).and_then(|address| {
                    address.ok_or_else(|| format!("'{text}' is not an IP address"))
                });
                findings.take(&field, hint, address)
            });
            let distinct: Vec<_> = parsed.collect();
            let count = distinct.iter().collect::<BTreeSet<_>>().len();
            if count < distinct.len() {
                findings.refuse("addresses", "an address is given twice", "");
            }
            distinct.into_iter().map(Address::Ip).collect()
        }
        (None, []) => {
            findings.refuse(
                "address",
                "a workload needs an address",
                "an IP address, a DNS name, or `unix:/path/of/socket`",
            );
            Vec::new()
        }
        (Some(_), [_, ..]) => {
            findings.refuse(
                "addresses",
                "`address` and `addresses` are both given",
                "keep one of them",
            );
            Vec::new()
        }
    }
}

fn any_address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.starts_with('/') && path.len() <= 107 {
            true => Ok(Address::Unix(path.into())),
            false => Err(format!(
                "'{text}' is not a socket: its path begins with '/' and has at most 107 bytes"
            )),
        };
    }
    if let Some(address) = ip_address(text)? {
        return Ok(Address::Ip(address));
    }
    if text.contains(':') {
        return Err(format!(
            "'{text}' is not an address; ports are given in `ports`"
        ));
    }
    text.parse()
        .map(Address::Dns)
        .map_err(|error: NameError| error.to_string())
}
