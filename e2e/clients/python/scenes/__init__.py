"""The scenarios by name."""

from scenes.access import access
from scenes.consuming import dead_letter, fifo, fifo_dead_letter, push, simple
from scenes.filters import sql, tag
from scenes.sending import asynchronous, normal, one_way, priority
from scenes.timing import delay, recall
from scenes.transactions import check_back, commit, rollback

SCENES = {
    "normal": normal,
    "async": asynchronous,
    "one-way": one_way,
    "fifo": fifo,
    "fifo-dead-letter": fifo_dead_letter,
    "delay": delay,
    "recall": recall,
    "commit": commit,
    "rollback": rollback,
    "check-back": check_back,
    "push": push,
    "simple": simple,
    "tag": tag,
    "sql": sql,
    "dead-letter": dead_letter,
    "priority": priority,
    "access": access,
}
