//! `kubernetes.accounts[]`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::settings::StaticAccount;
use crate::config::reader::Reader;
use crate::config::values;

/// Accounts in one file; more come from Fairlead.
const MAX_ACCOUNTS: usize = 10_000;

pub(super) fn read(reader: &mut Reader<'_>) -> Vec<StaticAccount> {
    let count = reader.items_of("kubernetes.accounts");
    if count > MAX_ACCOUNTS {
        let at = reader.place_of("kubernetes.accounts[");
        reader.mistake(&at, format!("has more than {MAX_ACCOUNTS} items"));
        return Vec::new();
    }
    let mut seen: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut out = Vec::new();
    for i in 0..count {
        let Some(account) = one(reader, &format!("kubernetes.accounts[{i}]")) else { continue };
        if let Some(first) = seen.insert(account.name.clone(), i) {
            let at = reader.place_of(&format!("kubernetes.accounts[{i}]"));
            reader.mistake(
                &at,
                format!("has the name of kubernetes.accounts[{first}]: account names are unique over the whole installation"),
            );
        }
        out.push(account);
    }
    out
}

fn one(reader: &mut Reader<'_>, at: &str) -> Option<StaticAccount> {
    let key = |name: &str| format!("{at}.{name}");
    let flag = |reader: &mut Reader<'_>, name: &str| reader.required(&key(name), values::boolean);
    let name = reader.optional(&key("name"), name);
    let file = reader.optional(&key("kubeConfigFile"), values::text(4_096));
    let contents = reader.optional(&key("kubeconfigContents"), |text| Ok(text.to_owned()));
    let context = reader.optional(&key("context"), values::text(1_000));
    let service_account = flag(reader, "serviceAccount");
    let insecure = flag(reader, "insecure");
    let no_proxy = flag(reader, "noProxy");
    let namespaces = reader.list(&key("namespaces"));
    let (read, write) = permissions(reader, at);
    let place = reader.place_of(at);
    let ways = usize::from(file.is_some()) + usize::from(contents.is_some()) + usize::from(service_account);
    if ways != 1 {
        reader.mistake(&place, "needs one of kubeConfigFile, kubeconfigContents and serviceAccount: true, and only one of them");
    }
    if name.is_none() {
        reader.mistake(&place, "has no name");
    }
    let file = file.map(|f| f.strip_prefix("file://").map_or(f.clone(), str::to_owned).into());
    let kubeconfig = contents.map(Into::into);
    Some(StaticAccount {
        name: name?.into(),
        kubeconfig_file: file,
        file_digest: None,
        kubeconfig,
        context,
        service_account,
        insecure,
        no_proxy,
        namespaces,
        read,
        write,
    })
}

/// A list of maps in the original. A role with blanks around it would open the account to everybody there; here they are cut off.
fn permissions(reader: &mut Reader<'_>, at: &str) -> (Vec<String>, Vec<String>) {
    let (mut read, mut write) = (Vec::new(), Vec::new());
    for i in 0..reader.items_of(&format!("{at}.permissions")) {
        read.extend(reader.list(&format!("{at}.permissions[{i}].READ")));
        write.extend(reader.list(&format!("{at}.permissions[{i}].WRITE")));
    }
    for role in read.iter_mut().chain(write.iter_mut()) {
        if role.trim() != role {
            let place = reader.place_of(&format!("{at}.permissions"));
            reader.warn(&place, "has a role with blanks around it, which are cut off");
            *role = role.trim().to_owned();
        }
    }
    (read, write)
}

fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !text.is_empty() && text.len() <= 250 && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("is not an account's name: letters, digits, - _ and . , at most 250 of them".into())
    }
}
