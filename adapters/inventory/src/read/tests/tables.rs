//! Tables: comma-separated values.

use super::*;

#[test]
fn a_table_is_read_row_by_row() {
    let event = first_csv(
        "\u{feff}Name,address,services,ports,namespace,locality,network,weight,labels,service_account,health
vm-1,10.0.0.1;fd00::1,cart;db.internal,http=8080;db=5432,shop,eu/eu-1,vpc-1,3,version=v1;team=a,cart,healthy
# a comment
vm-2, vm.example.com ,,,,,,,,,
vm-3,10.0.0.300,,,,,,,,,
vm-4,10.0.0.4,,http,,,,,,,
vm-5,10.0.0.5,,,,,,heavy,,,
vm-6,10.0.0.6,,,,,,,,,ill
vm-7,10.0.0.7
",
    );
    let endpoint = &endpoints(&event, "cart.shop.svc.cluster.local")[0];
    assert_eq!(endpoint.ports.len(), 2);
    assert_eq!(endpoint.weight, 3);
    assert_eq!(endpoint.locality.to_string(), "eu/eu-1");
    assert_eq!(endpoints(&event, "db.internal").len(), 2);
    assert_eq!(workload(&event, "vm-1").labels.len(), 2);
    workload(&event, "vm-2");
    assert_eq!(
        problems(&event),
        [
            "BW0201 9 : it has 2 values for 11 columns",
            "BW0201 5 address: '10.0.0.300' is not an IP address",
            "BW0201 6 ports: 'http' is not a port",
            "BW0201 7 weight: expected a whole number from 0 to 1000000, found \"heavy\"",
            "BW0201 8 health: unknown value `ill`",
        ]
    );
}

#[test]
fn lines_of_a_table_are_counted_however_they_end() {
    for end in ["\n", "\r\n"] {
        let rows = ["name,address", "vm-1,10.0.0.1", "vm-1,10.0.0.2", ""];
        let event = first_csv(&rows.join(end));
        assert_eq!(event.problems[0].code.as_str(), "BW0204");
        let source = event.problems[0].source.as_ref().unwrap();
        assert_eq!(source.line, Some(3), "{end:?}");
    }
}

#[test]
fn a_table_without_a_header_or_with_another_is_not_read() {
    for (text, expected) in [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("vm-1,10.0.0.1\n", "this column is not known"),
        ("name,adress\n", "this column is not known"),
        ("name,services\n", "it has no header"),
        ("name,name,address\n", "this column is there twice"),
        ("name,address\nä,\u{0}\n", "a NUL byte"),
    ] {
        let event = first_csv(text);
        assert!(matches!(event.change, Change::Failing { .. }), "{text:?}");
        let message = &problems(&event)[0];
        assert!(message.contains(expected), "{text:?}: {message}");
    }
    let bytes: [(&str, &[u8]); 1] = [("i.csv", b"name,address\na,\xff\n")];
    let event = Steps::default().read_files(&bytes).unwrap();
    assert_eq!(problems(&event), ["BW0102 2 : a byte that is not UTF-8"]);
    let event = first_csv("name,address\n");
    assert_eq!(
        objects(&event),
        [],
        "a header alone says that there is nothing"
    );
}

#[test]
fn a_row_that_is_cut_off_removes_nothing() {
    let mut steps = Steps::default();
    let whole = "name,address,weight\nvm-1,10.0.0.1,1\nvm-20,10.0.0.2,1\n";
    steps.read_files(&[("i.csv", whole.as_bytes())]);
    for end in ["\nvm-1".len(), "\nvm-20,10.0.".len()] {
        let half = whole.split_at(whole.find("\nvm-20").unwrap() + end).0;
        let event = steps.read_files(&[("i.csv", half.as_bytes())]);
        if let Some(event) = event {
            assert_eq!(update(&Some(event)), (vec![], vec![]), "{half}");
        }
    }
}
