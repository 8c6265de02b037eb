"""The bodies that the simulated PAYONE reads, field by field (reference sections 6 to 9)."""

from gateways.sandbox.payone_fields import Block, choice, flag, like, listed, text, trimmed, whole
from gateways.sandbox.payone_values import AMOUNT_MAX

URL = like(r"https?://\S{1,192}")
WEBHOOK_URL = like(r"https?://\S{1,317}")
CURRENCY = like(r"[A-Za-z]{3}")
MONEY = Block("amount currencyCode", amount=whole(0, AMOUNT_MAX), currencyCode=CURRENCY)
POSITIVE = Block("amount currencyCode", amount=whole(1, AMOUNT_MAX), currencyCode=CURRENCY)
REFERENCES = Block(
    merchantReference=text(40), merchantParameters=text(1000), operationGroupReference=text(50), descriptor=text(256)
)
OPERATION_REFERENCES = Block(merchantReference=text(40), operationGroupReference=text(50))

ADDRESS = Block(
    street=trimmed(50),
    houseNumber=trimmed(10),
    zip=trimmed(10),
    city=trimmed(40),
    state=trimmed(50),
    additionalInfo=trimmed(50),
    countryCode=like(r"[A-Za-z]{2}"),
)
DEVICE = Block(
    acceptHeader=text(2048),
    userAgent=text(2048),
    ipAddress=text(45),
    locale=text(35),
    timezoneOffsetUtcMinutes=text(6),
    deviceFingerprint=text(1024),
    browserData=Block(
        colorDepth=whole(0, 99),
        javaEnabled=flag,
        javaScriptEnabled=flag,
        screenHeight=text(6),
        screenWidth=text(6),
    ),
)
CUSTOMER = Block(
    merchantCustomerId=text(50),
    accountType=choice("none created existing"),
    contactDetails=Block(emailAddress=trimmed(70), phoneNumber=trimmed(20), mobilePhoneNumber=trimmed(20)),
    billingAddress=ADDRESS,
    personalInformation=Block(
        name=Block(firstName=trimmed(35), surname=trimmed(35), title=trimmed(35)),
        dateOfBirth=like(r"[0-9]{8}"),
        gender=text(50),
    ),
    locale=text(6),
    fiscalNumber=text(14),
    device=DEVICE,
)
ORDER = Block("amountOfMoney", amountOfMoney=MONEY, references=REFERENCES, customer=CUSTOMER)

CHALLENGES = (
    "no-preference no-challenge-requested challenge-requested challenge-required "
    "no-challenge-requested-risk-analysis-performed no-challenge-requested-data-share-only "
    "no-challenge-requested-consumer-authentication-performed no-challenge-requested-use-whitelist-exemption "
    "challenge-requested-whitelist-prompt-requested request-scoring-without-connecting-to-acs"
)
THREE_D_SECURE = Block(
    redirectionData=Block("returnUrl", returnUrl=URL),
    skipAuthentication=flag,
    challengeIndicator=choice(CHALLENGES),
    exemptionRequest=choice("none transaction-risk-analysis low-value whitelist"),
    merchantFraudRate=whole(0, 99),
    skipSoftDecline=flag,
    challengeCanvasSize=choice("250x400 390x400 500x600 600x400 full-screen"),
    priorThreeDSecureData=Block(
        acsTransactionId=text(36),
        method=choice("frictionless challenged avs-verified other"),
        utcTimestamp=like(r"[0-9]{12}"),
    ),
    authenticationAmount=whole(0, AMOUNT_MAX),
    deviceChannel=choice("appBased browser threeDSRequestorInitiated"),
    secureCorporatePayment=flag,
)
CARD = Block(
    "cardNumber expiryDate",
    cardNumber=like(r"[1-9][0-9]{5}[0-9]{0,13}"),
    cvv=like(r"(?:[0-9]{3,4})?"),
    expiryDate=like(r"[0-9]{4}"),
    cardholderName=trimmed(50),
)
MODE = choice("FINAL_AUTHORIZATION PRE_AUTHORIZATION SALE")
CHANNEL = choice("ECOMMERCE MOTO MAIL TELEPHONE")
CARD_INPUT = Block(
    authorizationMode=MODE,
    token=text(50),
    tokenize=flag,
    isRecurring=flag,
    recurring=Block(recurringPaymentSequenceIndicator=choice("first recurring")),
    unscheduledCardOnFileRequestor=choice("cardholderInitiated merchantInitiated"),
    unscheduledCardOnFileSequenceIndicator=choice("first subsequent"),
    schemeReferenceData=text(250),
    initialSchemeTransactionId=text(100),
    transactionChannel=CHANNEL,
    paymentProductId=whole(0, 99999),
    returnUrl=URL,
    card=CARD,
    autoCapture=Block(delayInMinutes=whole(0, 43200)),
    cardOnFileRecurringFrequency=choice("Daily Weekly Monthly Quarterly Yearly"),
    cardOnFileRecurringExpiration=like(r"[0-9]{8}"),
    allowDynamicLinking=flag,
    cobrandSelectionIndicator=choice("default alternative notApplicable"),
    skipAuthentication=flag,
    threeDSecure=THREE_D_SECURE,
)
MANDATE_CUSTOMER = Block(
    "bankAccountIban",
    bankAccountIban=Block("iban", iban=text(50)),
    companyName=trimmed(40),
    contactDetails=Block(emailAddress=trimmed(70)),
    mandateAddress=Block(
        street=trimmed(50),
        houseNumber=trimmed(15),
        zip=trimmed(10),
        city=trimmed(35),
        countryCode=like(r"[A-Za-z]{2}"),
    ),
    personalInformation=Block(title=choice("Mr Miss Mrs"), name=Block(firstName=trimmed(15), surname=trimmed(55))),
)
MANDATE = Block(
    "customerReference recurrenceType signatureType",
    customerReference=text(35),
    recurrenceType=choice("UNIQUE RECURRING"),
    signatureType=choice("UNSIGNED SMS TICK_BOX AIS"),
    customer=MANDATE_CUSTOMER,
    language=like(r"[A-Za-z]{2}"),
    returnUrl=URL,
    uniqueMandateReference=text(35),
    alias=text(50),
)
SEPA_INPUT = Block(
    paymentProductId=whole(771, 771),
    paymentProduct771SpecificInput=Block(existingUniqueMandateReference=text(35), mandate=MANDATE),
)
FEEDBACKS = Block(webhooksUrls=listed(WEBHOOK_URL, 5), webhookUrl=WEBHOOK_URL)

PAYMENT = Block(
    "order",
    order=ORDER,
    hostedTokenizationId=text(50),
    cardPaymentMethodSpecificInput=CARD_INPUT,
    sepaDirectDebitPaymentMethodSpecificInput=SEPA_INPUT,
    feedbacks=FEEDBACKS,
)
SUBSEQUENT_CARD = Block(
    authorizationMode=MODE,
    subsequentType=choice(
        "Recurring Unscheduled Installment NoShow DelayedCharge PartialShipment Resubmission RecurringVariable "
        "UnscheduledFixed"
    ),
    paymentNumber=whole(1, 99999),
    transactionChannel=CHANNEL,
    autoCapture=Block(delayInMinutes=whole(0, 43200)),
    token=text(50),
    schemeReferenceData=text(250),
)
SUBSEQUENT = Block("order", order=ORDER, subsequentcardPaymentMethodSpecificInput=SUBSEQUENT_CARD, feedbacks=FEEDBACKS)
CAPTURE = Block(
    amount=whole(1, AMOUNT_MAX), isFinal=flag, references=REFERENCES, operationReferences=OPERATION_REFERENCES
)
CANCEL = Block(amountOfMoney=POSITIVE, isFinal=flag, operationReferences=OPERATION_REFERENCES)
REFUND = Block(
    amountOfMoney=POSITIVE,
    isFinal=flag,
    references=REFERENCES,
    operationReferences=OPERATION_REFERENCES,
    reason=text(100),
    captureId=text(50),
)
PRODUCT_FILTERS = Block(
    restrictTo=Block(products=listed(whole(0, 99999), 100)), exclude=Block(products=listed(whole(0, 99999), 100))
)
SESSION = Block(
    locale=text(6),
    variant=text(250),
    tokens=text(5000),
    askConsumerConsent=flag,
    paymentProductFilters=PRODUCT_FILTERS,
    creditCardSpecificInput=Block(
        ValidationRules=Block(cvvMandatoryForNewToken=flag, cvvMandatoryForExistingToken=flag),
        paymentProductPreferredOrder=listed(whole(0, 99999), 100),
    ),
)
TOKEN = Block(
    paymentProductId=whole(0, 99999),
    card=Block("data", data=Block("card", card=CARD, cobrandSelectionIndicator=text(50))),
)
CHECKOUT = Block(
    "order",
    order=ORDER,
    hostedCheckoutSpecificInput=Block(
        returnUrl=URL,
        locale=text(6),
        variant=text(250),
        tokens=text(5000),
        showResultPage=flag,
        sessionTimeout=whole(1, 1440),
        allowedNumberOfPaymentAttempts=whole(1, 10),
        isRecurring=flag,
        isNewUnscheduledCardOnFileSeries=flag,
        paymentProductFilters=PRODUCT_FILTERS,
        cardPaymentMethodSpecificInput=Block(
            groupCards=flag,
            clickToPay=flag,
            tokenizationMode=choice("createWithConsent createAlways useExplicitly noTokenization"),
        ),
    ),
    cardPaymentMethodSpecificInput=CARD_INPUT,
    feedbacks=FEEDBACKS,
)
CREDENTIALS = Block("key secret", key=text(200), secret=text(200))
SEND_TEST = Block(url=WEBHOOK_URL)
