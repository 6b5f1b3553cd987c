//! Users: create, list, describe, change, delete. Answers never hold a secret.

use mainstay_messaging::{
    ChangeUser, Command, CreateUser, DeleteUser, Outcome, Rights, User, UserName, UserSecret,
};
use mainstay_proto::control::{
    self, ChangeUserRequest, ChangeUserResponse, CreateUserRequest, CreateUserResponse, DeleteUserRequest,
    DeleteUserResponse, DescribeUserRequest, DescribeUserResponse, ListUsersRequest, ListUsersResponse,
};
use mainstay_record::GroupId;
use tonic::{Request, Response, Status};

use super::leaders::{Origin, Peer, Unanswered, passed_on};
use super::topics::unexpected;
use super::{AdminService, Answer};

pub(super) async fn create(
    service: &AdminService,
    request: Request<CreateUserRequest>,
) -> Answer<CreateUserResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let user = message.user.as_ref().ok_or_else(|| Status::invalid_argument("user is not given"))?;
    let command = Command::CreateUser(CreateUser {
        name: changeable(service, &user.name)?,
        secret: secret(
            message.secret.as_ref().ok_or_else(|| Status::invalid_argument("secret is not given"))?,
        )?,
        rights: rights(
            user.rights.as_ref().ok_or_else(|| Status::invalid_argument("user.rights are not given"))?,
        )?,
    });
    let here = || async {
        match service.propose(command.clone()).await? {
            Outcome::UserCreated { created } => Ok(CreateUserResponse { created }),
            other => Err(unexpected(&other).into()),
        }
    };
    let there = |mut peer: Peer| {
        let message = message.clone();
        async move { Ok(peer.create_user(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(GroupId::METADATA, origin, here, there).await.map(Response::new)
}

pub(super) async fn list(
    service: &AdminService,
    request: Request<ListUsersRequest>,
) -> Answer<ListUsersResponse> {
    let origin = Origin::of(request.metadata());
    let here = || async {
        let users = service.group.metadata().users.iter().map(to_wire).collect();
        Ok(ListUsersResponse { users, auth_enabled: service.config.auth.is_some() })
    };
    let there = |mut peer: Peer| async move {
        Ok(peer.list_users(passed_on(ListUsersRequest {})).await?.into_inner())
    };
    service.at_leader(GroupId::METADATA, origin, here, there).await.map(Response::new)
}

pub(super) async fn describe(
    service: &AdminService,
    request: Request<DescribeUserRequest>,
) -> Answer<DescribeUserResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let here = || async {
        let user = find(service, &message.name)?;
        Ok(DescribeUserResponse { user: Some(user) })
    };
    let there = |mut peer: Peer| {
        let message = message.clone();
        async move { Ok(peer.describe_user(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(GroupId::METADATA, origin, here, there).await.map(Response::new)
}

pub(super) async fn change(
    service: &AdminService,
    request: Request<ChangeUserRequest>,
) -> Answer<ChangeUserResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let command = Command::ChangeUser(ChangeUser {
        name: changeable(service, &message.name)?,
        secret: message.secret.as_ref().map(secret).transpose()?,
        rights: message.rights.as_ref().map(rights).transpose()?,
    });
    let here = || async {
        service.propose(command.clone()).await?;
        let user = find(service, &message.name)?;
        Ok(ChangeUserResponse { user: Some(user) })
    };
    let there = |mut peer: Peer| {
        let message = message.clone();
        async move { Ok(peer.change_user(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(GroupId::METADATA, origin, here, there).await.map(Response::new)
}

pub(super) async fn delete(
    service: &AdminService,
    request: Request<DeleteUserRequest>,
) -> Answer<DeleteUserResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let command = Command::DeleteUser(DeleteUser { name: changeable(service, &message.name)? });
    let here = || async { service.propose(command.clone()).await.map(|_| DeleteUserResponse {}) };
    let there = |mut peer: Peer| {
        let message = message.clone();
        async move { Ok(peer.delete_user(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(GroupId::METADATA, origin, here, there).await.map(Response::new)
}

fn find(service: &AdminService, name: &str) -> Result<control::User, Unanswered> {
    let known = service.group.metadata();
    let user = known.user(name).map(to_wire);
    user.ok_or_else(|| Status::not_found(format!("user '{}' does not exist", name.escape_debug())).into())
}

/// The name of a user that is not the configuration's.
fn changeable(service: &AdminService, name: &str) -> Result<UserName, Status> {
    let name = UserName::new(name).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let admin = service.config.auth.as_ref().and_then(|auth| auth.admin.as_ref()?.now());
    if admin.is_some_and(|admin| admin.name == name) {
        let text = format!("user '{name}' comes from the configuration ([auth] admin) and is changed there");
        return Err(Status::failed_precondition(text));
    }
    Ok(name)
}

pub(super) fn secret(secret: &control::UserSecret) -> Result<UserSecret, Status> {
    UserSecret::new(&secret.text).map_err(|error| Status::invalid_argument(error.to_string()))
}

pub(super) fn rights(rights: &control::Rights) -> Result<Rights, Status> {
    let invalid = |text: String| Status::invalid_argument(format!("rights: {text}"));
    match (rights.admin, rights.grants.as_slice()) {
        (true, []) => Ok(Rights::Admin),
        (true, _) => Err(invalid("an administrator may do everything and has no grants".to_owned())),
        (false, grants) => {
            let grants = grants.iter().map(|grant| grant.parse()).collect::<Result<Vec<_>, _>>();
            grants.and_then(Rights::granted).map_err(|error| invalid(error.to_string()))
        }
    }
}

pub(super) fn to_wire(user: &User) -> control::User {
    let rights = match &user.rights {
        Rights::Admin => control::Rights { admin: true, grants: Vec::new() },
        Rights::Granted(grants) => {
            control::Rights { admin: false, grants: grants.iter().map(ToString::to_string).collect() }
        }
    };
    control::User { name: user.name.as_str().to_owned(), rights: Some(rights), revision: user.revision.0 }
}

/// As the other broker groups follow it.
pub(super) fn stored_to_wire(user: &User) -> control::StoredUser {
    control::StoredUser {
        user: Some(to_wire(user)),
        secret: Some(control::UserSecret { text: user.secret.expose().to_owned() }),
    }
}

pub(super) fn stored(user: &control::StoredUser) -> Result<User, Status> {
    let missing = || Status::invalid_argument("a user is not whole");
    let described = user.user.as_ref().ok_or_else(missing)?;
    Ok(User {
        name: UserName::new(&described.name).map_err(|error| Status::invalid_argument(error.to_string()))?,
        secret: secret(user.secret.as_ref().ok_or_else(missing)?)?,
        rights: rights(described.rights.as_ref().ok_or_else(missing)?)?,
        revision: mainstay_messaging::Revision(described.revision),
    })
}
