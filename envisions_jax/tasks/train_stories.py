"""Story templates of the train split of the generated word problems (notation: `stories`)."""

from envisions_jax.tasks.stories import Story

TRAIN_STORIES: tuple[Story, ...] = (
    # one step
    Story(
        "add",
        "{name} picked {n1} {fruit+} in the morning and {n2} more {fruit+} in the afternoon. How many"
        " {fruit+} did {name} pick that day?",
        "n1 + n2",
    ),
    Story(
        "add",
        "There are {n1} {animal+} in the barn and {n2} {animal+} out in the field. How many {animal+}"
        " does the farmer have altogether?",
        "n1 + n2",
    ),
    Story(
        "subtract",
        "{name} had {n1} {toy+} and gave {n2} of them to {name2}. How many {toy+} does {name} have left?",
        "n1 - n2",
    ),
    Story(
        "subtract",
        "A shop had {n1} {tool+} on the shelf. During the day {n2} of them were sold. How many "
        "{tool+} are still on the shelf?",
        "n1 - n2",
    ),
    Story(
        "difference",
        "{name} collected {n1} {toy+} and {name2} collected {n2} {toy+}. How many more {toy+} did "
        "{name} collect than {name2}?",
        "n1 - n2",
    ),
    Story(
        "difference",
        "The red rope is {n1} feet long and the blue rope is {n2} feet long. How many feet longer is "
        "the red rope than the blue one?",
        "n1 - n2",
    ),
    Story(
        "more than",
        "{name} read {n1} pages on Monday. On Tuesday {name} read {n2} pages more than on Monday. How"
        " many pages did {name} read on Tuesday?",
        "n1 + n2",
    ),
    Story(
        "multiply",
        "{name} filled {k1} {box+} with {fruit+}. There are {n1} {fruit+} in each {box}. How many "
        "{fruit+} are there in all?",
        "k1 * n1",
    ),
    Story(
        "multiply",
        "A ticket for the {place} costs {n1} dollars. How many dollars does {name} pay for {k1} tickets?",
        "n1 * k1",
    ),
    Story(
        "share",
        "{name} shared {t1} {treat+} equally among {k1} friends. How many {treat+} did each friend get?",
        "t1 / k1",
        {"t1": "k1 * q1"},
    ),
    Story(
        "share",
        "A teacher splits {t1} children into {k1} teams of the same size. How many children are in "
        "each team?",
        "t1 / k1",
        {"t1": "k1 * q1"},
    ),
    Story(
        "group",
        "{name} puts {t1} {fruit+} into {box+}. Each {box} holds {k1} {fruit+}. How many {box+} does "
        "{name} fill?",
        "t1 / k1",
        {"t1": "k1 * q1"},
    ),
    Story(
        "times as many",
        "{name} has {n1} {toy+}. {name2} has {k1} times as many {toy+} as {name}. How many {toy+} "
        "does {name2} have?",
        "n1 * k1",
    ),
    Story(
        "times as many",
        "A small tank holds {n1} liters of water. A large tank holds {k1} times as much. How many "
        "liters does the large tank hold?",
        "n1 * k1",
    ),
    # two steps
    Story(
        "add, add",
        "{name} baked {n1} {treat+} on Friday, {n2} on Saturday and {n3} on Sunday. How many {treat+}"
        " did {name} bake in those days?",
        "n1 + n2 + n3",
    ),
    Story(
        "add, subtract",
        "{name} had {n1} {toy+}. {name} bought {n2} more and then lost {n3} of them. How many {toy+} "
        "does {name} have now?",
        "n1 + n2 - n3",
    ),
    Story(
        "add, subtract",
        "A bus left with {n1} people. At the first stop {n2} people got on and {n3} people got off. "
        "How many people are on the bus now?",
        "n1 + n2 - n3",
    ),
    Story(
        "subtract, subtract",
        "A store had {n1} {tool+}. It sold {n2} of them on Monday and {n3} on Tuesday. How many "
        "{tool+} does the store have left?",
        "n1 - n2 - n3",
    ),
    Story(
        "multiply, add",
        "{name} has {k1} {box+} with {n1} {toy+} in each {box} and {n2} more {toy+} on a shelf. How "
        "many {toy+} does {name} have?",
        "k1 * n1 + n2",
    ),
    Story(
        "multiply, add",
        "{name} saves {n1} dollars every week. {name} already had {n2} dollars. How many dollars will"
        " {name} have after {k1} weeks?",
        "n1 * k1 + n2",
    ),
    Story(
        "multiply, subtract",
        "{name} bought {k1} {box+} of {fruit+} with {n1} {fruit+} in each. Then {n2} of the {fruit+} "
        "went bad. How many good {fruit+} are left?",
        "k1 * n1 - n2",
    ),
    Story(
        "subtract product",
        "{name} had {n1} dollars and bought {k1} {tool+} for {k2} dollars each. How many dollars does"
        " {name} have left?",
        "n1 - k1 * k2",
    ),
    Story(
        "sum, multiply",
        "Every day {name} eats {k1} {fruit+} and {name2} eats {k2} {fruit+}. How many {fruit+} do "
        "they eat together in {k3} days?",
        "(k1 + k2) * k3",
    ),
    Story(
        "sum, multiply",
        "A {treat} costs {k1} dollars and a drink costs {k2} dollars. How many dollars do {k3} "
        "children pay if each buys one {treat} and one drink?",
        "(k1 + k2) * k3",
    ),
    Story(
        "subtract, share",
        "{name} made {n1} {treat+} and kept {n2} of them. {name} shared the rest equally among {k1} "
        "neighbors. How many {treat+} did each neighbor get?",
        "(n1 - n2) / k1",
        {"n1": "n2 + k1 * q1"},
    ),
    Story(
        "add, share",
        "{name} has {n1} {tool+} and {name2} has {n2} {tool+}. They put them together and pack them "
        "equally into {k1} {box+}. How many {tool+} are in each {box}?",
        "(n1 + n2) / k1",
        {"n2": "k1 * q1 - n1"},
    ),
    Story(
        "more than, total",
        "{name} ran {n1} miles. {name2} ran {n2} miles more than {name}. How many miles did they run "
        "together?",
        "n1 + n1 + n2",
    ),
    Story(
        "multiply, share",
        "{name} has {k1} {box+} with {k2} {treat+} in each {box}. {name} shares all the {treat+} "
        "equally among {k3} children. How many {treat+} does each child get?",
        "k1 * k2 / k3",
    ),
    # three steps
    Story(
        "two products",
        "{name} bought {k1} {tool+} for {k2} dollars each and {k3} {toy+} for {k4} dollars each. How "
        "many dollars did {name} spend in total?",
        "k1 * k2 + k3 * k4",
    ),
    Story(
        "two products",
        "On a farm {k1} {animal+} eat {k2} pounds of food each and {k3} {animal2+} eat {k4} pounds "
        "each. How many pounds of food do they eat in all?",
        "k1 * k2 + k3 * k4",
    ),
    Story(
        "multiply, add, subtract",
        "{name} has {k1} {box+} of {n1} {toy+} and finds {n2} more {toy+}. Then {name} gives {n3} "
        "{toy+} to {name2}. How many {toy+} does {name} have now?",
        "k1 * n1 + n2 - n3",
    ),
    Story(
        "subtract, add, multiply",
        "Each {box} held {n1} {fruit+}. {name} took {n2} out of each {box} and put {n3} others in. "
        "There are {k1} {box+}. How many {fruit+} are in the {box+} now?",
        "(n1 - n2 + n3) * k1",
    ),
    Story(
        "multiply, subtract, share",
        "{name} baked {k1} trays of {k2} {treat+} and ate {n1} of them. {name} shared the rest "
        "equally among {k3} friends. How many {treat+} did each friend get?",
        "(k1 * k2 - n1) / k3",
        {"n1": "k1 * k2 - k3 * q1"},
    ),
    Story(
        "difference, multiply, add",
        "{name} earns {n1} dollars a day and spends {n2} dollars a day. {name} starts with {n3} "
        "dollars. How many dollars does {name} have after {k1} days?",
        "(n1 - n2) * k1 + n3",
    ),
    Story(
        "times as many, total, subtract",
        "{name} has {n1} {toy+} and {name2} has {k1} times as many. Together they give away {n2} "
        "{toy+}. How many {toy+} do they have left together?",
        "n1 + n1 * k1 - n2",
    ),
    Story(
        "add, add, share",
        "{name} picked {n1} {fruit+}, {name2} picked {n2} and {name3} picked {n3}. They put all of "
        "them equally into {k1} {box+}. How many {fruit+} are in each {box}?",
        "(n1 + n2 + n3) / k1",
        {"n3": "k1 * q1 - n1 - n2"},
    ),
    # four steps
    Story(
        "two products, subtract",
        "{name} sold {k1} {treat+} for {k2} dollars each and {k3} {fruit+} for {k4} dollars each, "
        "then spent {n1} dollars. How many dollars does {name} have left of what was earned?",
        "k1 * k2 + k3 * k4 - n1",
    ),
    Story(
        "two products, share",
        "{k1} {box+} hold {k2} {tool+} each and {k3} bigger {box+} hold {k4} {tool+} each. All the "
        "{tool+} are shared equally by {k5} classes. How many {tool+} does each class get?",
        "(k1 * k2 + k3 * k4) / k5",
    ),
    Story(
        "subtract two products",
        "{name} had {n1} dollars. {name} bought {k1} {toy+} for {k2} dollars each and {k3} {tool+} "
        "for {k4} dollars each. How many dollars does {name} have now?",
        "n1 - k1 * k2 - k3 * k4",
    ),
    Story(
        "sum, multiply, subtract, add",
        "A shop gets {k1} {fruit+} and {k2} {fruit2+} every day for {k3} days. It sells {n1} of them "
        "and then receives {n2} more. How many are in the shop now?",
        "(k1 + k2) * k3 - n1 + n2",
    ),
)
