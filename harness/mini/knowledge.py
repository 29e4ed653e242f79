"""The fixed body of facts behind the ``stem`` and ``humanities`` conversations.

topic -> (what it is, what else there is to say). True statements in plain words.
"""

STEM: dict[str, tuple[str, str]] = {
    "an atom": (
        "An atom is the smallest part of an element. It has a nucleus of protons and neutrons, "
        "and electrons move around it.",
        "an atom has as many electrons as protons, so that it carries no charge as a whole.",
    ),
    "gravity": (
        "Gravity is the force that pulls masses towards each other. It keeps the planets on their "
        "paths around the sun.",
        "gravity grows with mass and falls with the square of the distance between two bodies.",
    ),
    "a cell": (
        "A cell is the smallest unit of life. It is closed by a membrane and carries its own plan "
        "in the form of genes.",
        "some living things have one cell only, while a human has many billions of them.",
    ),
    "light": (
        "Light is a wave of electric and magnetic fields. It travels about three hundred thousand "
        "kilometres in one second.",
        "white light is a mix of all colours, and a prism can take it apart.",
    ),
    "an acid": (
        "An acid is a substance that gives away protons in water. It tastes sour and turns blue "
        "litmus paper red.",
        "an acid and a base cancel each other, and then water and a salt are left.",
    ),
    "photosynthesis": (
        "Photosynthesis is how plants make sugar. They use light, water and carbon dioxide, and "
        "give off oxygen.",
        "it happens in the green parts of a leaf, which owe their colour to chlorophyll.",
    ),
    "friction": (
        "Friction is the force that slows things which rub against each other. It turns motion "
        "into heat.",
        "oil makes friction smaller, while sand on an icy road makes it larger.",
    ),
    "a prime number": (
        "A prime number is a whole number above one that only one and itself divide. The first "
        "ones are two, three, five and seven.",
        "there is no largest prime number, as Euclid showed more than two thousand years ago.",
    ),
    "a volcano": (
        "A volcano is an opening in the crust of the earth. Hot rock, ash and gas come out of it "
        "when it erupts.",
        "most of them stand where two plates of the crust meet, often under the sea.",
    ),
    "sound": (
        "Sound is a wave of pressure that moves through air, water or solid things. It cannot "
        "travel through empty space.",
        "sound moves faster in water than in air, and faster still in steel.",
    ),
    "a magnet": (
        "A magnet is a body that attracts iron. It has a north pole and a south pole, and like "
        "poles push each other away.",
        "if you break a magnet in two, each part has both poles again.",
    ),
    "evaporation": (
        "Evaporation is how a liquid turns into a gas at its surface. It takes heat away from what "
        "is left behind.",
        "that is why wet skin feels cold in the wind, even on a warm day.",
    ),
}

HUMANITIES: dict[str, tuple[str, str]] = {
    "democracy": (
        "Democracy is a form of rule in which the people decide. They vote for those who make the "
        "laws, and can vote them out again.",
        "the word comes from Greek, and means the rule of the people.",
    ),
    "the printing press": (
        "The printing press is a machine that puts ink on paper. In Europe Johannes Gutenberg "
        "built one with movable type around 1450.",
        "books became cheap because of it, and new ideas could travel fast.",
    ),
    "a sonnet": (
        "A sonnet is a poem of fourteen lines. It often speaks of love, and its last lines turn "
        "the thought around.",
        "Shakespeare wrote more than a hundred and fifty of them in English.",
    ),
    "the Renaissance": (
        "The Renaissance is a time in Europe that began in Italy about 1400. Artists and scholars "
        "looked back to Greece and Rome.",
        "Leonardo da Vinci and Michelangelo both worked in the city of Florence.",
    ),
    "inflation": (
        "Inflation is a rise of prices over time. The same money then buys less than it did the "
        "year before.",
        "a central bank can fight it with a higher rate of interest.",
    ),
    "a myth": (
        "A myth is an old story that explains the world. It tells of gods and heroes, and of how "
        "things began.",
        "the same myth is often told in many lands under different names.",
    ),
    "the Silk Road": (
        "The Silk Road was a net of trade routes between China and Europe. Silk, spices and paper "
        "travelled along it for centuries.",
        "not only goods went that way, but beliefs, tales and illnesses too.",
    ),
    "ethics": (
        "Ethics is the part of philosophy that asks what is right. It looks for reasons and not "
        "only for rules.",
        "some judge an act by what follows from it, and others by the will behind it.",
    ),
    "a constitution": (
        "A constitution is the highest law of a state. It says who may rule, and what no ruler may "
        "do.",
        "to change it one needs more votes than for any other law.",
    ),
    "a symphony": (
        "A symphony is a long piece of music for an orchestra. It has four parts in most cases, "
        "some fast and some slow.",
        "Beethoven wrote nine of them, and the last one ends with a choir.",
    ),
    "archaeology": (
        "Archaeology is the study of the past through the things that people left. It digs for "
        "tools, walls, bones and coins.",
        "the deeper a thing lies in the ground, the older it tends to be.",
    ),
    "a census": (
        "A census is a count of all the people in a state. It asks where they live, how old they "
        "are and what they do.",
        "the Romans held one every five years to know whom to tax.",
    ),
}
