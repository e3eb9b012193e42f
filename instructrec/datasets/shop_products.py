"""Products of the simulated shop: twelve categories, eleven products each in three variants, invented brands."""

from __future__ import annotations

from typing import NamedTuple


class Product(NamedTuple):
    """A product in one variant.

    Attributes:
        category: Category in English.
        category_zh: Category in Chinese.
        title: Title in English, variant included.
        title_zh: Title in Chinese, variant included.
        base_price: Price in yuan before the brand's factor.
    """

    category: str
    category_zh: str
    title: str
    title_zh: str
    base_price: float


# Name and price factor of each brand; a brand sells in several categories.
BRANDS = {
    "Kitchen": ("Lanqiao", "Hearthwell", "Nuanjia", "Pinewood"),
    "Home": ("Nuanjia", "Pinewood", "Ostrava Living", "Mianmian"),
    "Electronics": ("Voltara", "Xingmai", "Kestrel", "Lumio"),
    "Computers": ("Kestrel", "Xingmai", "Daybreak", "Voltara"),
    "Books": ("Tidewater Press", "Yunshan Books", "Paper Lantern"),
    "Sports": ("Ridgeback", "Fengxing", "Swiftlane", "Torrent"),
    "Outdoors": ("Ridgeback", "Yeying", "Torrent", "Farfell"),
    "Clothing": ("Mianmian", "Fengxing", "Marlowe", "Plainstitch"),
    "Beauty": ("Suyan", "Petalworks", "Baicao", "Marlowe"),
    "Toys": ("Brightblock", "Xiaoqiao", "Paper Lantern"),
    "Food": ("Baicao", "Shanye", "Old Harbour", "Lanqiao"),
    "Pets": ("Waggle", "Maotuan", "Shanye"),
}
BRAND_FACTORS = {
    "Lanqiao": 0.95,
    "Hearthwell": 1.25,
    "Nuanjia": 0.9,
    "Pinewood": 1.1,
    "Ostrava Living": 1.35,
    "Mianmian": 0.85,
    "Voltara": 1.3,
    "Xingmai": 0.9,
    "Kestrel": 1.15,
    "Lumio": 0.8,
    "Daybreak": 1.0,
    "Tidewater Press": 1.15,
    "Yunshan Books": 0.9,
    "Paper Lantern": 1.0,
    "Ridgeback": 1.25,
    "Fengxing": 0.85,
    "Swiftlane": 1.05,
    "Torrent": 1.1,
    "Yeying": 0.9,
    "Farfell": 1.3,
    "Marlowe": 1.35,
    "Plainstitch": 0.95,
    "Suyan": 1.1,
    "Petalworks": 1.3,
    "Baicao": 0.85,
    "Brightblock": 1.2,
    "Xiaoqiao": 0.85,
    "Shanye": 0.9,
    "Old Harbour": 1.2,
    "Waggle": 1.2,
    "Maotuan": 0.9,
}

# Category, then lines of: title | Chinese title | price | variant = Chinese variant = price factor, three times.
_PRODUCTS = """
# Kitchen | 厨房
Cordless Kettle | 无线电热水壶 | 119 | 1.2 L=1.2升=0.9 | 1.5 L=1.5升=1 | 1.7 L=1.7升=1.15
Rice Cooker | 电饭煲 | 299 | 2 L=2升=0.8 | 3 L=3升=1 | 5 L=5升=1.3
Cast Iron Wok | 铸铁炒锅 | 189 | 30 cm=30厘米=0.85 | 32 cm=32厘米=1 | 34 cm=34厘米=1.1
Chef's Knife | 主厨刀 | 129 | 16 cm=16厘米=0.8 | 20 cm=20厘米=1 | 24 cm=24厘米=1.25
Bamboo Steamer | 竹蒸笼 | 49 | One Tier=单层=0.7 | Two Tiers=双层=1 | Three Tiers=三层=1.3
Pour-Over Coffee Set | 手冲咖啡套装 | 169 | for One=单人=0.75 | for Two=双人=1 | for Four=四人=1.3
Glass Storage Boxes | 玻璃保鲜盒 | 69 | Set of 3=三件套=0.8 | Set of 5=五件套=1.1 | Set of 8=八件套=1.6
Stand Blender | 破壁料理机 | 399 | 600 W=600瓦=0.7 | 1000 W=1000瓦=1 | 1600 W=1600瓦=1.4
Non-Stick Frying Pan | 不粘平底锅 | 109 | 24 cm=24厘米=0.85 | 26 cm=26厘米=0.95 | 28 cm=28厘米=1.1
Air Fryer | 空气炸锅 | 329 | 3.5 L=3.5升=0.8 | 5 L=5升=1 | 6.5 L=6.5升=1.25
Porcelain Tea Set | 青瓷茶具 | 159 | Celadon=天青=1.1 | White=素白=0.9 | Ink Black=墨黑=1.05
# Home | 家居
Memory Foam Pillow | 记忆棉枕头 | 99 | Low=低枕=0.9 | Medium=中枕=1 | High=高枕=1.05
Linen Curtains | 亚麻窗帘 | 179 | Sand=沙色=1 | Sage=灰绿=1 | Blackout=全遮光=1.3
LED Desk Lamp | 护眼台灯 | 139 | Clip-On=夹式=0.75 | Foldable=折叠=0.95 | with Wireless Charger=无线充电=1.5
Cotton Duvet Cover | 纯棉被套 | 229 | Single=单人=0.8 | Double=双人=1 | King=加大=1.2
Humidifier | 加湿器 | 149 | 2 L=2升=0.75 | 4 L=4升=1 | 6 L=6升=1.3
Laundry Basket | 脏衣篮 | 59 | Foldable=折叠=0.8 | Rattan=藤编=1.4 | on Wheels=带轮=1.2
Scented Candle | 香薰蜡烛 | 79 | Osmanthus=桂花=1 | Cedar=雪松=1 | Sea Salt=海盐=1
Bath Towels | 浴巾 | 89 | Set of 2=两条装=1 | Set of 4=四条装=1.8 | Hooded=连帽=1.1
Robot Vacuum | 扫地机器人 | 1299 | Slim=超薄=0.75 | with Mop=扫拖一体=1 | Self-Emptying=自动集尘=1.6
Wall Clock | 挂钟 | 89 | Silent=静音=1 | Walnut=胡桃木=1.5 | Nordic White=北欧白=0.9
Wool Rug | 羊毛地毯 | 459 | 120 x 160 cm=120×160厘米=0.7 | 160 x 230 cm=160×230厘米=1.1 | Round=圆形=0.9
# Electronics | 数码电子
Wireless Earbuds | 无线耳机 | 299 | Sport=运动版=0.9 | Noise Cancelling=主动降噪=1.5 | Open-Ear=开放式=1.2
Bluetooth Speaker | 蓝牙音箱 | 199 | Pocket=便携=0.6 | Waterproof=防水=1 | Bookshelf=书架式=2.2
Power Bank | 移动电源 | 129 | 5000 mAh=5000毫安=0.6 | 10000 mAh=10000毫安=1 | 20000 mAh=20000毫安=1.5
Smart Watch | 智能手表 | 799 | 41 mm=41毫米=0.9 | 45 mm=45毫米=1 | with GPS=GPS版=1.3
Fast Charger | 快速充电器 | 79 | 30 W=30瓦=0.8 | 65 W=65瓦=1.3 | 100 W=100瓦=2
Action Camera | 运动相机 | 1499 | 2.7K=2.7K=0.6 | 4K=4K=1 | 5.3K=5.3K=1.5
E-Book Reader | 电子书阅读器 | 899 | 6 Inch=6英寸=0.8 | 7 Inch=7英寸=1.1 | 10 Inch=10英寸=2
Digital Photo Frame | 电子相框 | 349 | 8 Inch=8英寸=0.75 | 10 Inch=10英寸=1 | Wi-Fi=无线版=1.3
Headphones | 头戴式耳机 | 499 | Studio=监听=1.3 | Wireless=无线=1 | Kids=儿童=0.4
Mini Projector | 迷你投影仪 | 1699 | 720p=720P=0.6 | 1080p=1080P=1 | 4K=4K=2
Electric Toothbrush | 电动牙刷 | 199 | Travel=旅行装=0.8 | Sonic=声波=1 | with Three Heads=三刷头=1.2
# Computers | 电脑办公
Mechanical Keyboard | 机械键盘 | 359 | 61 Keys=61键=0.8 | 87 Keys=87键=1 | 104 Keys=104键=1.1
Wireless Mouse | 无线鼠标 | 99 | Silent=静音=0.9 | Ergonomic=人体工学=1.4 | Gaming=电竞=1.8
Monitor | 显示器 | 1299 | 24 Inch=24英寸=0.7 | 27 Inch=27英寸=1 | 34 Inch Curved=34英寸曲面=1.9
Laptop Stand | 笔记本支架 | 89 | Aluminium=铝合金=1.2 | Foldable=折叠=0.8 | with Fan=带风扇=1.1
USB-C Hub | 扩展坞 | 149 | 4-in-1=四合一=0.6 | 7-in-1=七合一=1 | 12-in-1=十二合一=2.1
Portable SSD | 移动固态硬盘 | 549 | 500 GB=500GB=0.7 | 1 TB=1TB=1 | 2 TB=2TB=1.8
Webcam | 摄像头 | 199 | 720p=720P=0.5 | 1080p=1080P=1 | 2K=2K=1.5
Wi-Fi Router | 路由器 | 259 | Dual Band=双频=0.7 | Mesh Pack=分布式套装=2 | Wi-Fi 6=Wi-Fi 6=1.1
Drawing Tablet | 数位板 | 399 | Small=小号=0.6 | Medium=中号=1 | with Screen=带屏=3
Office Chair | 办公椅 | 699 | Mesh=网布=0.9 | with Headrest=带头枕=1.2 | Leather=皮质=1.6
Laser Printer | 激光打印机 | 999 | Mono=黑白=0.8 | Colour=彩色=1.6 | with Scanner=打印扫描一体=1.3
# Books | 图书
The Lighthouse Ledger | 灯塔账簿 | 49 | Paperback=平装=0.8 | Hardcover=精装=1.4 | Illustrated=插图版=1.8
A Year of Home Cooking | 四季家常菜 | 68 | Paperback=平装=0.9 | Hardcover=精装=1.3 | for Beginners=入门版=0.8
Python from Scratch | 从零学Python | 79 | 2nd Edition=第二版=1 | with Exercises=习题版=1.2 | for Teenagers=青少年版=0.8
The Last Tea Caravan | 最后的茶马古道 | 56 | Paperback=平装=0.8 | Hardcover=精装=1.3 | Bilingual=双语版=1.2
Stars for Small Hands | 给孩子的星空 | 59 | Board Book=纸板书=0.9 | Pop-Up=立体书=1.8 | with Stickers=贴纸版=0.8
Statistics without Fear | 不怕统计学 | 69 | Paperback=平装=1 | with Workbook=附练习册=1.4 | Pocket=口袋版=0.6
Murder on Canal Street | 运河街谜案 | 45 | Paperback=平装=0.8 | Large Print=大字版=1.2 | Collector's=典藏版=2
The Quiet Garden | 安静的花园 | 62 | Paperback=平装=0.9 | Hardcover=精装=1.4 | Photographic=摄影版=1.7
Letters to a Young Engineer | 致年轻工程师的信 | 52 | Paperback=平装=0.9 | Hardcover=精装=1.3 | Annotated=注释版=1.2
Maps of Vanished Cities | 消失之城地图集 | 128 | Paperback=平装=0.7 | Hardcover=精装=1.2 | Boxed=函套版=1.8
Everyday Calligraphy | 日常书法 | 39 | Regular Script=楷书=1 | Running Script=行书=1 | with Brush=附毛笔=1.7
# Sports | 运动健身
Yoga Mat | 瑜伽垫 | 99 | 4 mm=4毫米=0.8 | 6 mm=6毫米=1 | 10 mm=10毫米=1.3
Running Shoes | 跑步鞋 | 399 | Road=公路=1 | Trail=越野=1.2 | Carbon=碳板=2
Adjustable Dumbbell | 可调哑铃 | 359 | 10 kg=10公斤=0.7 | 20 kg=20公斤=1 | 24 kg Pair=24公斤一对=1.9
Badminton Racket | 羽毛球拍 | 269 | Beginner=入门=0.5 | Light=轻量=1 | Attack=进攻型=1.4
Table Tennis Set | 乒乓球套装 | 79 | Two Players=双人=0.9 | Four Players=四人=1.4 | with Net=带网=1.3
Jump Rope | 跳绳 | 39 | Weighted=负重=1.2 | Cordless=无绳=1.3 | Speed=竞速=1
Foam Roller | 泡沫轴 | 69 | Soft=软=0.9 | Firm=硬=1 | Vibrating=震动=3
Swimming Goggles | 泳镜 | 89 | Clear=透明=0.9 | Mirrored=镀膜=1.2 | Prescription=近视=1.5
Resistance Bands | 弹力带 | 49 | Light=轻阻力=0.7 | Heavy=重阻力=1 | Set of 5=五件套=1.6
Exercise Bike | 动感单车 | 1599 | Foldable=折叠=0.6 | Magnetic=磁控=1 | with Screen=带屏=1.6
Basketball | 篮球 | 129 | Size 5=五号=0.8 | Size 7=七号=1 | Outdoor=室外=0.9
# Outdoors | 户外
Hiking Backpack | 登山背包 | 349 | 25 L=25升=0.7 | 40 L=40升=1 | 60 L=60升=1.4
Dome Tent | 露营帐篷 | 599 | for Two=双人=0.8 | for Four=四人=1.2 | Pop-Up=速开=0.7
Down Sleeping Bag | 羽绒睡袋 | 499 | 0 C=0度=0.9 | -5 C=零下5度=1.1 | -15 C=零下15度=1.7
Trekking Poles | 登山杖 | 189 | Aluminium=铝合金=0.7 | Carbon=碳纤维=1.6 | Foldable=折叠=1.1
Camping Stove | 露营炉具 | 149 | Gas=燃气=0.9 | Alcohol=酒精=0.5 | Two Burners=双灶=2
Head Torch | 头灯 | 99 | 200 lm=200流明=0.6 | 500 lm=500流明=1 | Rechargeable=充电式=1.3
Insulated Bottle | 保温壶 | 129 | 500 ml=500毫升=0.7 | 1 L=1升=1 | 2 L=2升=1.5
Folding Chair | 折叠椅 | 119 | Low=矮款=0.9 | with Cup Holder=带杯架=1.1 | Rocking=摇椅=1.7
Rain Jacket | 冲锋衣 | 459 | Light=轻薄=0.7 | Two Layers=两层=1 | Three in One=三合一=1.5
Binoculars | 双筒望远镜 | 399 | 8 x 32=8×32=0.8 | 10 x 42=10×42=1.2 | Compact=便携=0.6
Picnic Blanket | 野餐垫 | 69 | for Two=双人=0.7 | for Six=六人=1.3 | Waterproof=防水=1
# Clothing | 服饰
Cotton T-Shirt | 纯棉T恤 | 69 | White=白色=1 | Navy=藏青=1 | Striped=条纹=1.1
Denim Jacket | 牛仔外套 | 259 | Light Blue=浅蓝=1 | Black=黑色=1 | Lined=加绒=1.3
Merino Sweater | 美利奴羊毛衫 | 329 | Crew Neck=圆领=1 | V-Neck=V领=1 | Turtleneck=高领=1.1
Canvas Shoes | 帆布鞋 | 139 | Low=低帮=0.9 | High=高帮=1.1 | Slip-On=一脚蹬=0.9
Down Coat | 羽绒服 | 699 | Short=短款=0.8 | Long=长款=1.3 | Packable=便携=0.7
Silk Scarf | 真丝围巾 | 199 | Square=方巾=0.8 | Long=长巾=1.2 | Floral=印花=1
Chino Trousers | 休闲长裤 | 179 | Slim=修身=1 | Straight=直筒=1 | Cropped=九分=0.9
Linen Shirt | 亚麻衬衫 | 159 | Short Sleeve=短袖=0.9 | Long Sleeve=长袖=1 | Stand Collar=立领=1.1
Wool Socks | 羊毛袜 | 49 | 3 Pairs=三双装=1 | 5 Pairs=五双装=1.5 | Thick=加厚=1.1
Sun Hat | 遮阳帽 | 79 | Wide Brim=宽檐=1.1 | Bucket=渔夫帽=0.9 | Foldable=折叠=1
Leather Belt | 皮带 | 149 | Brown=棕色=1 | Black=黑色=1 | Braided=编织=1.2
# Beauty | 美妆个护
Sunscreen SPF 50 | 防晒霜SPF50 | 99 | 30 ml=30毫升=0.6 | 50 ml=50毫升=1 | Spray=喷雾=1.1
Face Cream | 面霜 | 169 | Light=清爽=0.9 | Rich=滋润=1.1 | Night=晚霜=1.3
Lip Balm | 润唇膏 | 39 | Honey=蜂蜜=1 | Mint=薄荷=1 | Tinted=变色=1.3
Shampoo | 洗发水 | 69 | Anti-Dandruff=去屑=1.1 | Volume=蓬松=1 | Silicone-Free=无硅油=1.2
Sheet Masks | 面膜 | 79 | Pack of 5=5片装=0.6 | Pack of 10=10片装=1 | Pack of 20=20片装=1.7
Hand Cream | 护手霜 | 35 | Rose=玫瑰=1 | Osmanthus=桂花=1 | Unscented=无香=0.9
Hair Dryer | 吹风机 | 299 | Travel=旅行装=0.5 | Ionic=负离子=1 | High Speed=高速=2
Cleansing Oil | 卸妆油 | 119 | 100 ml=100毫升=0.7 | 200 ml=200毫升=1 | Sensitive=敏感肌=1.1
Eau de Toilette | 淡香水 | 259 | Bamboo=竹=1 | Citrus=柑橘=1 | White Tea=白茶=1.1
Electric Shaver | 电动剃须刀 | 349 | Travel=旅行装=0.5 | Rotary=旋转式=1 | Foil=往复式=1.3
Make-Up Brushes | 化妆刷 | 129 | Set of 5=5支装=0.7 | Set of 10=10支装=1 | Set of 15=15支装=1.5
# Toys | 玩具
Wooden Blocks | 木制积木 | 99 | 50 Pieces=50块=0.7 | 100 Pieces=100块=1 | with Letters=字母版=1.1
Jigsaw Puzzle | 拼图 | 59 | 300 Pieces=300片=0.6 | 500 Pieces=500片=0.8 | 1000 Pieces=1000片=1.2
Remote-Control Car | 遥控车 | 159 | Off-Road=越野=1.2 | Stunt=特技=1 | Racing=竞速=1.1
Plush Panda | 毛绒熊猫 | 69 | 25 cm=25厘米=0.7 | 40 cm=40厘米=1 | 80 cm=80厘米=2.2
Board Game | 桌游 | 129 | Family=家庭版=1 | Strategy=策略版=1.5 | Travel=旅行版=0.6
Magnetic Tiles | 磁力片 | 179 | 40 Pieces=40片=0.7 | 80 Pieces=80片=1.2 | with Marbles=轨道版=1.4
Watercolour Set | 水彩套装 | 79 | 12 Colours=12色=0.6 | 24 Colours=24色=1 | 36 Colours=36色=1.4
Train Set | 小火车套装 | 199 | Starter=入门=0.6 | City=城市=1 | Mountain=山地=1.3
Science Kit | 科学实验套装 | 149 | Crystals=水晶=0.8 | Chemistry=化学=1.1 | Electronics=电路=1.3
Balance Bike | 平衡车 | 329 | 12 Inch=12寸=0.9 | 14 Inch=14寸=1.1 | Foldable=折叠=1.2
Kite | 风筝 | 49 | Swallow=沙燕=1 | Dragon=长龙=2.4 | Delta=三角=0.7
# Food | 食品
Jasmine Tea | 茉莉花茶 | 59 | 100 g=100克=0.7 | 250 g=250克=1.3 | Gift Box=礼盒=2.5
Coffee Beans | 咖啡豆 | 79 | Light Roast=浅烘=1 | Dark Roast=深烘=1 | Decaf=低因=1.1
Mixed Nuts | 混合坚果 | 69 | 300 g=300克=0.7 | 500 g=500克=1 | 30 Daily Packs=每日30包=1.7
Mooncakes | 月饼 | 128 | Lotus Seed=莲蓉=1 | Five Kernel=五仁=0.9 | Custard=流心奶黄=1.3
Chilli Crisp | 香辣脆油辣椒 | 25 | Mild=微辣=1 | Hot=特辣=1 | with Peanuts=花生=1.1
Dark Chocolate | 黑巧克力 | 45 | 70%=70%=1 | 85%=85%=1.1 | Sea Salt=海盐=1.1
Wild Honey | 野生蜂蜜 | 89 | Acacia=槐花=1 | Linden=椴树=1.1 | Comb=蜂巢=1.6
Instant Noodles | 方便面 | 29 | Beef=红烧牛肉=1 | Seafood=海鲜=1 | Vegetarian=素食=0.9
Sesame Oil | 芝麻油 | 39 | 250 ml=250毫升=0.8 | 500 ml=500毫升=1.3 | Black Sesame=黑芝麻=1.4
Dried Mango | 芒果干 | 35 | 100 g=100克=0.7 | 250 g=250克=1.4 | Unsweetened=无糖=1.1
Rice | 大米 | 59 | 2.5 kg=2.5公斤=0.7 | 5 kg=5公斤=1.2 | Black=黑米=1.1
# Pets | 宠物
Cat Litter | 猫砂 | 45 | Tofu=豆腐=1 | Bentonite=膨润土=0.8 | Mixed=混合=0.9
Dog Food | 狗粮 | 159 | Puppy=幼犬=1.1 | Adult=成犬=1 | Grain-Free=无谷=1.5
Cat Tree | 猫爬架 | 229 | Small=小型=0.6 | Tall=高款=1.3 | Wall-Mounted=壁挂=1.1
Pet Water Fountain | 宠物饮水机 | 129 | 1.5 L=1.5升=0.8 | 2.5 L=2.5升=1 | Wireless=无线=1.4
Dog Lead | 牵引绳 | 49 | 1.5 m=1.5米=0.8 | Retractable=伸缩=1.5 | Reflective=反光=1
Pet Carrier | 宠物背包 | 169 | Soft=软包=0.8 | Window=太空舱=1.1 | on Wheels=拉杆=1.7
Cat Teaser | 逗猫棒 | 19 | Feather=羽毛=1 | Bell=铃铛=1 | Electric=电动=3
Freeze-Dried Treats | 冻干零食 | 59 | Chicken=鸡肉=1 | Duck=鸭肉=1 | Salmon=三文鱼=1.3
Grooming Brush | 宠物梳 | 39 | for Cats=猫用=0.9 | for Dogs=犬用=1 | Steam=蒸汽=2
Automatic Feeder | 自动喂食器 | 269 | 3 L=3升=0.8 | 5 L=5升=1 | with Camera=带摄像头=1.6
Aquarium | 鱼缸 | 199 | 10 L=10升=0.6 | 25 L=25升=1 | with Filter=带过滤=1.3
"""


def products() -> list[Product]:
    """Return all products in all variants, category by category, always in the same order."""
    catalogue = []
    category = category_zh = ""
    for line in _PRODUCTS.strip().splitlines():
        if line.startswith("#"):
            category, category_zh = line[1:].strip().split(" | ")
            continue
        title, title_zh, price, *variants = line.split(" | ")
        for variant in variants:
            name, name_zh, factor = variant.split("=")
            catalogue.append(
                Product(
                    category,
                    category_zh,
                    f"{title} {name}",
                    f"{title_zh} {name_zh}",
                    float(price) * float(factor),
                )
            )
    return catalogue
