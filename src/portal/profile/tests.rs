//! The exact bytes of every operation in every profile, as somebody at the other end sees them.

use std::fmt::Write as _;

use secrecy::SecretString;

use super::*;

const NEW: &str = r#"{"MaHoSo":"H55.242-260126-0001","TrichYeuHoSo":"Cấp bản sao"}"#;
const STEP: &str = r#"{"MaHoSo":"H55.242-260126-0001","TrangThai":"2"}"#;

/// As it goes over the wire, but for what the client adds by itself (host, length, agent).
fn on_the_wire(formed: &Formed) -> String {
    let method = match formed.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let mut text = format!("{method} {}\n", formed.url);
    for (name, value) in &formed.headers {
        writeln!(text, "{name}: {value}").unwrap();
    }
    writeln!(text, "\n{}", String::from_utf8(formed.body.to_vec()).unwrap()).unwrap();
    text
}

fn everything(profile: &dyn Profile) -> String {
    let password = SecretString::from("mat \"khau\"");
    let login = Operation::Login { username: "h55", password: &password };
    let shown = Shown { session: "phien-1", token: "the-token" };
    let mut operations = vec![
        Operation::Dossiers { is_updating: false, packets: &[NEW, NEW] },
        Operation::Dossiers { is_updating: true, packets: &[NEW] },
        Operation::Steps { packets: &[STEP] },
        Operation::LookUp { ma_ho_so: "H55.242-260126-0001" },
    ];
    if profile.has_sessions() {
        operations.insert(0, login);
    }
    let all: Vec<String> = operations
        .iter()
        .map(|operation| {
            let name = operation.service();
            format!("--- {name}\n{}", on_the_wire(&profile.form(operation, shown)))
        })
        .collect();
    all.join("\n")
}

fn adapter() -> Adapter {
    Adapter {
        base_url: "http://ss.example.invalid:8080/XrdAdapter/RestService/forward".into(),
        auth_path: "mapi/login".into(),
        integration_path: "mapi/g".into(),
        share_path: "mapi/p".into(),
        dstcode: "VN:GOV:000.00.00.G22:vpcpdvcprovider".into(),
        madonvi: "000.00.00.H55".into(),
    }
}

fn wrapper() -> Wrapper {
    Wrapper {
        base_url: "https://lgsp.example.invalid/api/SynsTTHCC/".into(),
        create: "DongBoHoSoMC".into(),
        update: "DongBoHoSoMC".into(),
        steps: "CapNhatTienDoHoSoMC".into(),
        look_up: "TraCuuHoSo".into(),
        agency_key: "MaDinhDanhDV".into(),
        updating_key: "isUpdating".into(),
        look_up_key: "mahoso".into(),
        madonvi: "000.00.00.H55".into(),
        secret_place: SecretPlace::Nowhere,
    }
}

fn bearer() -> Bearer {
    Bearer {
        base_url: "https://lgsp.example.invalid".into(),
        dossiers: "ngsp/DVCQG/DongBoHoSoMC".into(),
        steps: "ngsp/DVCQG/CapNhatTienDoHoSoMC".into(),
        look_up: "ngsp/DVCQG/TraCuuHoSo".into(),
        login: String::new(),
        madonvi: "000.00.00.H55".into(),
    }
}

fn token_request(body: TokenBody) -> TokenRequest {
    TokenRequest {
        base_url: "https://lgsp.example.invalid".into(),
        address: "token".into(),
        body,
        client_id_field: "client_id".into(),
        client_id: "tỉnh H55".into(),
        client_secret_field: "client_secret".into(),
        client_secret: SecretString::from("bí&mật=\"1\""),
        fields: vec![("grant_type".into(), "client_credentials".into())],
    }
}

#[test]
fn the_adapter_gets_the_envelope_with_its_session() {
    insta::assert_snapshot!(everything(&adapter()));
}

#[test]
fn a_wrapper_gets_bare_arrays_and_flags_in_the_query() {
    insta::assert_snapshot!(everything(&wrapper()));
}

#[test]
fn a_wrapper_of_the_other_shape_gets_an_address_for_each_and_no_query() {
    let wrapper = Wrapper {
        base_url: "https://apidvc.example.invalid/KetNoiMotCuaQuocGia".into(),
        update: "CapNhatHoSoMC".into(),
        agency_key: String::new(),
        updating_key: String::new(),
        look_up: "https://tracuu.example.invalid/TraCuuHoSo".into(),
        look_up_key: "maHoSo".into(),
        secret_place: SecretPlace::Header("X-Api-Key".into()),
        ..wrapper()
    };
    insta::assert_snapshot!(everything(&wrapper));
}

#[test]
fn a_wrapper_that_wants_a_bearer_secret_gets_it_in_the_usual_header() {
    let wrapper = Wrapper { secret_place: SecretPlace::Bearer, ..wrapper() };
    let formed = wrapper
        .form(&Operation::Steps { packets: &[STEP] }, Shown { session: "", token: "the-token" });
    let header = ("authorization".to_owned(), "Bearer the-token".to_owned());
    assert_eq!(formed.headers.last(), Some(&header));
}

#[test]
fn a_platform_gets_the_envelope_with_a_token_and_no_session() {
    insta::assert_snapshot!(everything(&bearer()));
}

#[test]
fn a_platform_that_passes_the_login_on_gets_token_and_session() {
    let bearer = Bearer { login: "ngsp/DVCQG/login".into(), ..bearer() };
    insta::assert_snapshot!(everything(&bearer));
}

#[test]
fn a_token_is_asked_for_as_a_form_or_as_json() {
    let form = on_the_wire(&token_request(TokenBody::Form).form());
    let json = on_the_wire(&token_request(TokenBody::Json).form());
    insta::assert_snapshot!(format!("{form}\n{json}"));
}

#[test]
fn no_hash_depends_on_a_secret() {
    for body in [TokenBody::Form, TokenBody::Json] {
        let one = token_request(body);
        let other = TokenRequest { client_secret: SecretString::from("other"), ..one.clone() };
        assert_ne!(one.form().body, other.form().body);
        assert_eq!(one.form().body_hash, other.form().body_hash);
    }
    let profiles: [&dyn Profile; 3] = [&adapter(), &wrapper(), &bearer()];
    for profile in profiles {
        let steps = Operation::Steps { packets: &[STEP] };
        let one = profile.form(&steps, Shown { session: "a", token: "b" });
        let other = profile.form(&steps, Shown { session: "c", token: "d" });
        assert_eq!(one.body_hash, other.body_hash, "{profile:?}");
    }
}
