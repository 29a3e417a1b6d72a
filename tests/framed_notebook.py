"""A small notebook with the whole frame, for tests of what is said when a part is missing."""

from nbformat import v4

from helpers import course

LESSON = course.lesson("00")  # meets no landmark of its own
FIGURE = v4.new_output("display_data", data={"text/html": '<img alt="a bar" src="">', "text/plain": "a bar"})


def markdown(source: str):
    return v4.new_markdown_cell(source)


def code(source: str, *outputs):
    return v4.new_code_cell(source, execution_count=1, outputs=list(outputs))


def exercise(number: int, level: str) -> list:
    solved = "```python\nanswer = 1\ncheck_one(answer)\n```"
    solution = f"<details><summary>Solution</summary>\n\n{solved}\n\nBecause.\n\n</details>"
    question = markdown(f"### {number}. Say one ({level})\n\nWhich number is it?")
    return [question, code("answer = None\ncheck_one(answer)"), markdown(solution)]


def _step() -> list:
    return [markdown("## What is it?\n\nA thing."), code('check(1 == 1, "it is one")')]


def parts() -> dict[str, list]:
    """The cells of a notebook without a problem, by part, in order."""
    title = (
        "# Read a thing\n\n**What you will see**\n\n- one\n- two\n- three\n\n"
        "**Time** 1 minute · **memory** 1 GB · **you need** nothing"
    )
    return {
        "title": [markdown(title)],
        "map": [markdown(course.map_text(LESSON))],
        "imports": [code("from helpers import check")],
        "steps": [*_step(), code("show(figure)", FIGURE), *_step(), *_step()],
        "version": [markdown("## In your version\n\nThe same."), code('in_your_version("00", recording)')],
        "exercises": [markdown("## Try it"), *exercise(1, "easy"), *exercise(2, "hard")],
        "recap": [markdown("## Recap\n\n" + "\n".join(f"- line {letter}" for letter in "abcde"))],
        "look": [markdown("## Where to look in the source\n\nThere."), code('where_to_look("00", recording)')],
        "navigation": [markdown(course.navigation_text(LESSON))],
    }


def cells_of(by_part: dict[str, list]) -> list:
    return [cell for part in by_part.values() for cell in part]
