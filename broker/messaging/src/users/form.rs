//! Users as bytes, in records of the log and in snapshots.

use bytes::{BufMut, BytesMut};

use super::grants::{Actions, Grant, Kind, MAX_GRANTS, Pattern, Rights};
use super::{ChangeUser, CreateUser, MAX_SECRET_LEN, MAX_USER_LEN, User, UserSecret};
use crate::metadata::Revision;
use crate::wire::{DecodeError, Reader, WriteFields};

pub(crate) fn put_user(user: &User, out: &mut BytesMut) {
    out.put_text(user.name.as_str());
    out.put_text(user.secret.expose());
    put_rights(&user.rights, out);
    out.put_number(user.revision.0);
}

pub(crate) fn user(input: &mut Reader<'_>) -> Result<User, DecodeError> {
    Ok(User {
        name: input.name("user")?,
        secret: input.name("secret")?,
        rights: rights(input, "rights")?,
        revision: Revision(input.number("user revision")?),
    })
}

/// Bytes of a user's name, secret and what goes with them, at most.
const USER_LEN: usize = MAX_USER_LEN + MAX_SECRET_LEN + 32;

/// Bytes of a user with these rights, or a little more.
pub(crate) fn length(rights: &Rights) -> usize {
    let grants = match rights {
        Rights::Admin => 0,
        Rights::Granted(grants) => grants.iter().map(|grant| grant.on.name.len() + 5).sum(),
    };
    USER_LEN + grants
}

pub(crate) fn encode_create(create: &CreateUser, out: &mut BytesMut) {
    out.put_text(create.name.as_str());
    out.put_text(create.secret.expose());
    put_rights(&create.rights, out);
}

pub(crate) fn decode_create(input: &mut Reader<'_>) -> Result<CreateUser, DecodeError> {
    Ok(CreateUser {
        name: input.name("user")?,
        secret: input.name("secret")?,
        rights: rights(input, "rights")?,
    })
}

pub(crate) fn encode_change(change: &ChangeUser, out: &mut BytesMut) {
    out.put_text(change.name.as_str());
    out.put_optional_text(change.secret.as_ref().map(UserSecret::expose));
    out.put_u8(change.rights.is_some().into());
    change.rights.iter().for_each(|rights| put_rights(rights, out));
}

pub(crate) fn decode_change(input: &mut Reader<'_>) -> Result<ChangeUser, DecodeError> {
    Ok(ChangeUser {
        name: input.name("user")?,
        secret: input.optional("secret", Reader::name)?,
        rights: input.optional("rights", rights)?,
    })
}

fn put_rights(rights: &Rights, out: &mut BytesMut) {
    match rights {
        Rights::Admin => out.put_u8(1),
        Rights::Granted(grants) => {
            out.put_u8(2);
            out.put_number(grants.len() as u64);
            for grant in grants {
                out.put_u8(grant.actions.bits());
                out.put_u8(match grant.on.kind {
                    Kind::Topic => 1,
                    Kind::Group => 2,
                });
                out.put_u8(grant.on.open.into());
                out.put_text(&grant.on.name);
            }
        }
    }
}

fn rights(input: &mut Reader<'_>, field: &'static str) -> Result<Rights, DecodeError> {
    match input.byte(field)? {
        1 => Ok(Rights::Admin),
        2 => {
            let grants = input.list("grants", grant)?;
            if grants.len() > MAX_GRANTS || !grants.is_sorted_by(|a, b| a.on < b.on) {
                return Err(DecodeError::Invalid("grants"));
            }
            Ok(Rights::Granted(grants))
        }
        _ => Err(DecodeError::Invalid(field)),
    }
}

fn grant(input: &mut Reader<'_>) -> Result<Grant, DecodeError> {
    const FIELD: &str = "grant";
    let illegal = DecodeError::Invalid(FIELD);
    let actions = Actions::from_bits(input.byte(FIELD)?).ok_or(illegal.clone())?;
    let kind = match input.byte(FIELD)? {
        1 => Kind::Topic,
        2 => Kind::Group,
        _ => return Err(illegal),
    };
    let open = match input.byte(FIELD)? {
        0 => false,
        1 => true,
        _ => return Err(illegal),
    };
    let on = Pattern::checked(kind, input.text(FIELD)?, open).ok_or(illegal)?;
    Ok(Grant { actions, on })
}
