"""What the documentation of zep-python 1.5 says of sessions, memory, messages and users, a function a sentence.

Called with the service's URL. Prints what came of each: a JSON object of names and errors.
"""

import asyncio
import json
import sys
import traceback
import uuid
import warnings

from zep_python import APIError, Memory, MemorySearchPayload, Message, NotFoundError, Session, ZepClient
from zep_python.user import CreateUserRequest, UpdateUserRequest

warnings.simplefilter("error")
[url] = sys.argv[1:]
client = ZepClient(url)


def new_id(name="id"):
    return f"{name}-{uuid.uuid4()}"


def memory(*contents):
    return Memory(messages=[Message(role="human", content=content) for content in contents])


def contents(session_id, lastn=None):
    return [message.content for message in client.memory.get_memory(session_id, lastn).messages]


def raises(kind, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"{call} raised no {kind}")


# Clients


def test_a_client_checks_that_the_server_is_running_and_new_enough():
    ZepClient(url)
    ZepClient(url + "/")
    ZepClient(url + "/api/v1")
    raises(APIError, ZepClient, "http://127.0.0.1:1")


def test_the_deprecated_methods_of_the_base_client_still_work():
    session_id = new_id()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client.add_session(Session(session_id=session_id))
        assert client.add_memory(session_id, memory("x")) == "OK"
        assert client.get_memory(session_id).messages[0].content == "x"
        assert client.get_session(session_id).session_id == session_id
        assert client.delete_memory(session_id) == "OK"


# Sessions


def test_a_session_is_added_with_a_user_and_metadata():
    user_id, session_id = new_id("user"), new_id()
    client.user.add(CreateUserRequest(user_id=user_id))
    added = client.memory.add_session(Session(session_id=session_id, user_id=user_id, metadata={"foo": "bar"}))
    assert (added.session_id, added.user_id, added.metadata) == (session_id, user_id, {"foo": "bar"})
    assert added.uuid and added.id and added.created_at and added.updated_at and added.deleted_at is None


def test_a_session_without_user_and_metadata_is_added():
    added = client.memory.add_session(Session(session_id=new_id()))
    assert added.user_id is None and added.metadata is None


def test_a_session_is_got():
    added = client.memory.add_session(Session(session_id=new_id(), metadata={"a": {"b": [1, None, "ü"]}}))
    assert client.memory.get_session(added.session_id) == added


def test_an_unknown_session_is_not_found():
    raises(NotFoundError, client.memory.get_session, new_id())
    raises(NotFoundError, client.memory.update_session, Session(session_id=new_id(), metadata={"a": 1}))
    raises(NotFoundError, client.memory.delete_memory, new_id())


def test_a_session_is_not_added_twice():
    session_id = new_id()
    client.memory.add_session(Session(session_id=session_id, metadata={"first": True}))
    error = raises(APIError, client.memory.add_session, Session(session_id=session_id, metadata={"second": True}))
    assert error.response_data["status_code"] == 400 and error.response_data["message"].endswith("\n")
    assert client.memory.get_session(session_id).metadata == {"first": True}


def test_metadata_is_merged_so_any_existing_metadata_is_preserved():
    session_id = new_id()
    client.memory.add_session(Session(session_id=session_id, metadata={"foo": "bar", "n": {"a": 1}}))
    updated = client.memory.update_session(Session(session_id=session_id, metadata={"qax": "baz", "n": {"b": 2}}))
    assert updated.metadata == {"foo": "bar", "qax": "baz", "n": {"a": 1, "b": 2}}
    assert client.memory.get_session(session_id) == updated


def test_a_session_that_was_got_can_be_sent_back():
    added = client.memory.add_session(Session(session_id=new_id(), metadata={"a": 1}))
    assert client.memory.update_session(added).metadata == {"a": 1}


def test_sessions_are_created_when_adding_memories_or_added_to():
    session_id = new_id()
    assert client.memory.add_memory(session_id, memory("one")) == "OK"
    client.memory.add_memory(session_id, memory("two", "three"))
    assert contents(session_id) == ["one", "two", "three"]
    assert client.memory.get_session(session_id).session_id == session_id


def test_deleting_a_session_deletes_all_its_memories():
    session_id = new_id()
    client.memory.add_memory(session_id, memory("x"))
    assert client.memory.delete_memory(session_id) == "OK"
    raises(NotFoundError, client.memory.get_session, session_id)
    assert contents(session_id) == [] and client.memory.get_memory(session_id).summary is None
    assert client.message.get_session_messages(session_id) == []
    raises(NotFoundError, client.memory.delete_memory, session_id)
    assert session_id not in [session.session_id for session in client.memory.list_sessions()]


def test_memory_that_is_persisted_to_a_deleted_session_undeletes_it_and_deleted_memories_remain_deleted():
    session_id = new_id()
    client.memory.add_session(Session(session_id=session_id, metadata={"kept": True}))
    client.memory.add_memory(session_id, memory("old"))
    client.memory.delete_memory(session_id)
    client.memory.add_memory(session_id, memory("new"))
    assert contents(session_id) == ["new"]
    assert client.memory.get_session(session_id).metadata == {"kept": True}


def test_sessions_are_listed_by_limit_and_cursor():
    ids = [client.memory.add_session(Session(session_id=new_id())).session_id for _ in range(5)]
    everything = [session.session_id for session in client.memory.list_sessions()]
    assert [session_id for session_id in everything if session_id in ids] == ids
    first = client.memory.list_sessions(limit=3, cursor=0)
    second = client.memory.list_sessions(limit=3, cursor=3)
    assert [session.session_id for session in first + second] == everything[:6]
    after_last = client.memory.list_sessions(limit=3, cursor=first[-1].id)
    assert after_last == second


def test_all_sessions_are_listed_by_a_generator_whatever_is_deleted_meanwhile():
    ids = [client.memory.add_session(Session(session_id=new_id())).session_id for _ in range(23)]
    seen = []
    for chunk in client.memory.list_all_sessions(chunk_size=4):
        mine = [session.session_id for session in chunk if session.session_id in ids]
        seen += mine
        for session_id in mine[-2:]:
            client.memory.delete_memory(session_id)
    assert seen == ids, seen


# Memory


def test_memory_keeps_role_content_metadata_uuid_and_token_count():
    session_id, message_uuid = new_id(), str(uuid.uuid4())
    given = Message(uuid=message_uuid, role="ai", content="Grüße 😀", metadata={"a": {"b": 1}}, token_count=7)
    client.memory.add_memory(session_id, Memory(messages=[given]))
    [got] = client.memory.get_memory(session_id).messages
    assert got.dict(exclude={"created_at"}) == given.dict(exclude={"created_at"}) and got.created_at


def test_messages_without_a_uuid_get_one():
    session_id = new_id()
    client.memory.add_memory(session_id, memory("x", "y"))
    uuids = {uuid.UUID(message.uuid) for message in client.memory.get_memory(session_id).messages}
    assert len(uuids) == 2


def test_lastn_is_the_number_of_most_recent_entries():
    session_id = new_id()
    client.memory.add_memory(session_id, memory(*[str(n) for n in range(20)]))
    assert contents(session_id, 3) == ["17", "18", "19"]
    assert contents(session_id, 20) == [str(n) for n in range(20)]
    assert contents(session_id) == [str(n) for n in range(8, 20)]


def test_an_unknown_session_has_no_messages():
    assert client.memory.get_memory(new_id()).messages == []


def test_memory_is_searched_for_what_a_text_says():
    session_id = new_id()
    client.memory.add_memory(session_id, memory("Two days in Lisbon?", "Start in Alfama.", "And to eat?"))
    for payload in [MemorySearchPayload(text="alfama"), MemorySearchPayload(text="ALFAMA", search_type="mmr", mmr_lambda=0.5)]:
        first = client.memory.search_memory(session_id, payload)[0]
        assert first.message["content"] == "Start in Alfama." and first.dist > 0 and first.summary is None
    assert client.memory.search_memory(new_id(), MemorySearchPayload(text="x")) == []


def test_memory_is_searched_by_metadata_with_a_limit():
    session_id = new_id()
    given = [Message(role="human", content=str(n), metadata={"n": n, "tags": ["odd" if n % 2 else "even"]}) for n in range(15)]
    client.memory.add_memory(session_id, Memory(messages=given))
    found = lambda where, limit=None: [
        result.message["content"]
        for result in client.memory.search_memory(session_id, MemorySearchPayload(metadata={"where": where}), limit)
    ]
    assert found({"jsonpath": '$.tags[*] ? (@ == "odd")'}) == ["13", "11", "9", "7", "5", "3", "1"]
    assert len(found({"jsonpath": "$.n"})) == 10 and len(found({"jsonpath": "$.n"}, -1)) == 15
    assert found({"and": [{"jsonpath": "$.n ? (@ > 3)"}, {"or": [{"jsonpath": "$.n ? (@ < 5)"}, {"jsonpath": '$.tags ? (@ == "x")'}]}]}) == ["4"]
    error = raises(APIError, found, {"jsonpath": "$.n ? (@ >"})
    assert error.response_data["status_code"] == 400


def test_a_summary_is_found():
    session_id = new_id()
    client.memory.add_memory(session_id, memory("one"))
    assert client.memory.search_memory(session_id, MemorySearchPayload(text="one", search_scope="summary")) == []


# Messages


def test_a_specific_message_is_got_from_a_session():
    session_id = new_id()
    client.memory.add_memory(session_id, memory("one", "two"))
    _, second = client.message.get_session_messages(session_id)
    assert client.message.get_session_message(session_id, second.uuid) == second
    raises(NotFoundError, client.message.get_session_message, session_id, str(uuid.uuid4()))


def test_all_messages_are_got_page_by_page():
    session_id = new_id()
    client.memory.add_memory(session_id, memory("one", "two", "three"))
    page = lambda cursor: [m.content for m in client.message.get_session_messages(session_id, limit=2, cursor=cursor)]
    assert [page(1), page(2), page(3)] == [["one", "two"], ["three"], []]


def test_metadata_of_a_message_is_updated_in_the_documented_format():
    session_id, message_uuid = new_id(), str(uuid.uuid4())
    given = Message(uuid=message_uuid, role="human", content="x", metadata={"keep": 1, "system": {"intent": "a"}})
    client.memory.add_memory(session_id, Memory(messages=[given]))
    update = {"metadata": {"foo": "bar", "system": {"intent": "b"}}}
    updated = client.message.update_message_metadata(session_id, message_uuid, update)
    assert updated.metadata == {"keep": 1, "foo": "bar", "system": {"intent": "a"}}
    assert updated.content == "x"


def test_metadata_of_a_message_is_updated_as_the_signature_says():
    session_id, message_uuid = new_id(), str(uuid.uuid4())
    client.memory.add_memory(session_id, Memory(messages=[Message(uuid=message_uuid, role="human", content="x")]))
    client.message.update_message_metadata(session_id, message_uuid, {"foo": {"a": 1}})
    updated = client.message.update_message_metadata(session_id, message_uuid, {"foo": {"b": 2}})
    assert updated.metadata == {"foo": {"a": 1, "b": 2}}


# Users


def test_a_user_is_added_got_and_updated():
    user_id = new_id("user")
    request = CreateUserRequest(user_id=user_id, email="a@b.c", first_name="A", last_name="B", metadata={"foo": "bar"})
    added = client.user.add(request)
    assert (added.email, added.first_name, added.last_name, added.metadata) == ("a@b.c", "A", "B", {"foo": "bar"})
    assert client.user.get(user_id) == added
    updated = client.user.update(UpdateUserRequest(user_id=user_id, first_name="Z", metadata={"n": 1}))
    assert (updated.first_name, updated.email, updated.metadata) == ("Z", "a@b.c", {"foo": "bar", "n": 1})
    raises(APIError, client.user.add, request)
    raises(NotFoundError, client.user.get, new_id("user"))
    raises(NotFoundError, client.user.update, UpdateUserRequest(user_id=new_id("user"), email="x"))


def test_a_user_is_deleted_with_sessions_and_memory():
    user_id, session_id = new_id("user"), new_id()
    client.user.add(CreateUserRequest(user_id=user_id))
    client.memory.add_session(Session(session_id=session_id, user_id=user_id))
    client.memory.add_memory(session_id, memory("x"))
    assert [session.session_id for session in client.user.get_sessions(user_id)] == [session_id]
    client.user.delete(user_id)
    raises(NotFoundError, client.user.get, user_id)
    raises(NotFoundError, client.user.delete, user_id)
    raises(NotFoundError, client.memory.get_session, session_id)
    assert client.user.get_sessions(user_id) == [] and contents(session_id) == []
    client.memory.add_session(Session(session_id=session_id))


def test_users_are_listed_and_their_id_is_a_cursor():
    ids = [client.user.add(CreateUserRequest(user_id=new_id("user"))).user_id for _ in range(7)]
    # Sends an empty limit and an empty cursor.
    everything = [user.user_id for user in client.user.list()]
    assert [user_id for user_id in everything if user_id in ids] == ids
    seen, cursor = [], 0
    while users := client.user.list(limit=3, cursor=cursor):
        seen += [user.user_id for user in users]
        cursor = users[-1].id
    assert seen == everything
    assert [user.user_id for users in client.user.list_chunked(chunk_size=3) for user in users] == everything


# Ids


def test_ids_are_what_they_are():
    for text in ["a b", "ü–日本 😀", "a:b@c;d,e=f&g+h$i", '"quoted"', "…"]:
        session_id = new_id() + text
        client.memory.add_memory(session_id, memory("x"))
        assert contents(session_id) == ["x"]
        assert client.memory.get_session(session_id).session_id == session_id


# The asynchronous half


def test_the_same_holds_for_the_asynchronous_client():
    async def run():
        user_id, session_id = new_id("user"), new_id()
        async with ZepClient(url) as zep:
            await zep.user.aadd(CreateUserRequest(user_id=user_id))
            await zep.memory.aadd_session(Session(session_id=session_id, user_id=user_id, metadata={"foo": "bar"}))
            await zep.memory.aadd_memory(session_id, memory("one", "two"))
            updated = await zep.memory.aupdate_session(Session(session_id=session_id, metadata={"qax": "baz"}))
            assert updated.metadata == {"foo": "bar", "qax": "baz"}
            assert await zep.memory.aget_session(session_id) == updated
            assert [m.content for m in (await zep.memory.aget_memory(session_id, 1)).messages] == ["two"]
            messages = await zep.message.aget_session_messages(session_id)
            assert await zep.message.aget_session_message(session_id, messages[0].uuid) == messages[0]
            changed = await zep.message.aupdate_message_metadata(session_id, messages[0].uuid, {"metadata": {"a": 1}})
            assert changed.metadata == {"a": 1}
            listed = [s.session_id async for chunk in zep.memory.alist_all_sessions(chunk_size=3) for s in chunk]
            assert listed.count(session_id) == 1 and len(set(listed)) == len(listed)
            users = [u.user_id async for chunk in zep.user.alist_chunked(chunk_size=2) for u in chunk]
            assert users.count(user_id) == 1 and len(set(users)) == len(users)
            assert [s.session_id for s in await zep.user.aget_sessions(user_id)] == [session_id]
            await zep.memory.adelete_memory(session_id)
            assert (await zep.memory.aget_memory(session_id)).messages == []
            await zep.user.adelete(user_id)

    asyncio.run(run())


outcomes = {}
for name, test in list(globals().items()):
    if not name.startswith("test_"):
        continue
    try:
        test()
        outcomes[name] = None
    except BaseException:
        outcomes[name] = traceback.format_exc()
print(json.dumps(outcomes))
