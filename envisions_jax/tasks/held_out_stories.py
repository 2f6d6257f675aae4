"""Story templates of the test split: the kinds of reasoning of the train split in other stories."""

from envisions_jax.tasks.stories import Story

TEST_STORIES: tuple[Story, ...] = (
    # one step
    Story(
        "add",
        "A fisherman caught {n1} fish before lunch and {n2} fish after lunch. What is the total "
        "number of fish he caught?",
        "n1 + n2",
    ),
    Story(
        "subtract",
        "There were {n1} {fruit+} on the tree. A storm blew {n2} of them to the ground. How many "
        "{fruit+} stayed on the tree?",
        "n1 - n2",
    ),
    Story(
        "difference",
        "At the {place} there were {n1} visitors on Saturday but only {n2} on Sunday. How many fewer "
        "visitors came on Sunday?",
        "n1 - n2",
    ),
    Story(
        "more than",
        "A chair weighs {n1} pounds. The table next to it is {n2} pounds heavier than the chair. How "
        "many pounds does the table weigh?",
        "n1 + n2",
    ),
    Story(
        "multiply",
        "In the hall {name} set up {k1} rows of seats, and every row has {n1} seats. How many seats "
        "did {name} set up?",
        "k1 * n1",
    ),
    Story(
        "share",
        "{name} cut {t1} inches of string into {k1} equal pieces. How many inches long is each piece?",
        "t1 / k1",
        {"t1": "k1 * q1"},
    ),
    Story(
        "group",
        "At the {place}, {t1} guests must sit at tables for {k1} people. How many tables are needed "
        "so that everyone has a seat?",
        "t1 / k1",
        {"t1": "k1 * q1"},
    ),
    Story(
        "times as many",
        "The old tower has {n1} steps. The new tower has {k1} times as many steps. How many steps "
        "does the new tower have?",
        "n1 * k1",
    ),
    # two steps
    Story(
        "add, add",
        "In a garden there are {n1} roses, {n2} tulips and {n3} daisies. How many of these flowers "
        "grow in the garden?",
        "n1 + n2 + n3",
    ),
    Story(
        "add, subtract",
        "A pond had {n1} frogs. In spring {n2} frogs moved in, and in summer {n3} frogs left. How "
        "many frogs live in the pond now?",
        "n1 + n2 - n3",
    ),
    Story(
        "subtract, subtract",
        "{name} must drive {n1} miles. {name} drove {n2} miles before noon and {n3} miles after. How "
        "many miles are left to drive?",
        "n1 - n2 - n3",
    ),
    Story(
        "multiply, add",
        "A builder used {k1} truckloads of {n1} bricks each, plus {n2} old bricks. How many bricks "
        "did the builder use altogether?",
        "k1 * n1 + n2",
    ),
    Story(
        "multiply, subtract",
        "A hotel has {k1} floors with {n1} rooms on each floor. Today {n2} rooms are taken. How many "
        "rooms are free?",
        "k1 * n1 - n2",
    ),
    Story(
        "subtract product",
        "A roll has {n1} meters of cloth. {name} cuts off {k1} pieces of {k2} meters each. How many "
        "meters of cloth remain on the roll?",
        "n1 - k1 * k2",
    ),
    Story(
        "sum, multiply",
        "A kit holds {k1} long screws and {k2} short screws. How many screws are there in {k3} such kits?",
        "(k1 + k2) * k3",
    ),
    Story(
        "subtract, share",
        "A choir has {n1} singers. When {n2} of them are ill, the others stand in {k1} equal rows. "
        "How many singers stand in each row?",
        "(n1 - n2) / k1",
        {"n1": "n2 + k1 * q1"},
    ),
    Story(
        "add, share",
        "{name} bought {n1} white {animal+} and {n2} brown {animal+} and kept the same number in each"
        " of {k1} pens. How many {animal+} were in each pen?",
        "(n1 + n2) / k1",
        {"n2": "k1 * q1 - n1"},
    ),
    Story(
        "more than, total",
        "{name} scored {n1} points in the game and {name2} scored {n2} points more than that. How "
        "many points did the two score in all?",
        "n1 + n1 + n2",
    ),
    Story(
        "multiply, share",
        "{name} has {k1} shelves with {k2} books on each. The books are moved to {k3} equal piles. "
        "How many books are in a pile?",
        "k1 * k2 / k3",
    ),
    # three steps
    Story(
        "two products",
        "A school hired {k1} vans with {k2} seats and {k3} buses with {k4} seats. How many seats did "
        "the school hire in total?",
        "k1 * k2 + k3 * k4",
    ),
    Story(
        "multiply, add, subtract",
        "A printer made {k1} posters an hour for {n1} hours, and {n2} posters the day before. Then "
        "{n3} posters were thrown away. How many posters are left?",
        "k1 * n1 + n2 - n3",
    ),
    Story(
        "subtract, add, multiply",
        "Each train car had {n1} riders. At the station {n2} riders left each car and {n3} entered "
        "it. The train has {k1} cars. How many riders are on the train?",
        "(n1 - n2 + n3) * k1",
    ),
    Story(
        "multiply, subtract, share",
        "{name} grew {k1} rows of {k2} {fruit+} and sold {n1} of them. The rest filled {k3} {box+} "
        "equally. How many {fruit+} are in each {box}?",
        "(k1 * k2 - n1) / k3",
        {"n1": "k1 * k2 - k3 * q1"},
    ),
    Story(
        "difference, multiply, add",
        "Each hour a pump fills {n1} liters into a pool and {n2} liters leak out. The pool held {n3} "
        "liters before. How many liters are in it after {k1} hours?",
        "(n1 - n2) * k1 + n3",
    ),
    Story(
        "times as many, total, subtract",
        "{name} planted {n1} trees and {name2} planted {k1} times as many. Later {n2} of all these "
        "trees died. How many trees are alive?",
        "n1 + n1 * k1 - n2",
    ),
    Story(
        "add, add, share",
        "Over three days a baker made {n1}, {n2} and {n3} {treat+}. They were sent in equal parts to "
        "{k1} cafes. How many {treat+} did each cafe receive?",
        "(n1 + n2 + n3) / k1",
        {"n3": "k1 * q1 - n1 - n2"},
    ),
    # four steps
    Story(
        "two products, subtract",
        "A worker loads {k1} carts with {k2} {box+} each and {k3} trucks with {k4} {box+} each. On "
        "the way {n1} {box+} break. How many {box+} arrive whole?",
        "k1 * k2 + k3 * k4 - n1",
    ),
    Story(
        "two products, share",
        "{name} practiced {k1} minutes on each of {k2} days and {k3} minutes on each of {k4} days, to"
        " learn {k5} songs. How many minutes is that for each song?",
        "(k1 * k2 + k3 * k4) / k5",
    ),
    Story(
        "subtract two products",
        "The {place} has {n1} seats. {k1} groups of {k2} people and {k3} groups of {k4} people came "
        "in and sat down. How many seats are empty?",
        "n1 - k1 * k2 - k3 * k4",
    ),
    Story(
        "sum, multiply, subtract, add",
        "Each day a crew paints {k1} doors and {k2} windows. After {k3} days {n1} of them must be "
        "redone, and {n2} finished ones arrive. How many are ready?",
        "(k1 + k2) * k3 - n1 + n2",
    ),
)
